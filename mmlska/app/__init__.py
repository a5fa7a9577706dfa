"""A page in the browser to try trained models on: ``tools/app.py``. It needs Gradio, which is imported with ``page`` only."""

import os

from .field import PointField, draw_field, point_field
from .models import Models, find_trained
from .views import View, draw_view, find_examples, legend, make_view, read_photo

os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # which Gradio reads when it is imported

__all__ = [
    'Models',
    'PointField',
    'View',
    'draw_field',
    'draw_view',
    'find_examples',
    'find_trained',
    'legend',
    'make_view',
    'point_field',
    'read_photo',
]
