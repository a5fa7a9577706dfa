"""A page in the browser to try trained models on: ``mmlska app``. It needs Gradio, which is imported with ``page`` only."""

import os

os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # which Gradio reads when it is imported
