"""What the page answers, without a browser."""

from types import SimpleNamespace

import pytest

pytest.importorskip('gradio', reason='no Gradio; pip install -r requirements/app.txt')

from mmlska.app.models import Models
from mmlska.app.page import FIELD_PARTS, OVERLAY_PARTS, Page


def test_a_page_whose_photo_was_dropped_says_so():
    """Gradio gives None for a session that it dropped: after an hour, or for others."""
    page = Page(Models({'a': ('config.py', 'epoch_1.pth')}, 'cpu'))
    for answer, parts in [
        (page.click(SimpleNamespace(index=(3, 4)), None, -1), FIELD_PARTS),
        (page.change_stage(None, 0), FIELD_PARTS),
        (page.change_models(None, 'a', 'none', 0.3, 0.5, -1), OVERLAY_PARTS + FIELD_PARTS),
    ]:
        session, message, *rest = answer
        assert session is None
        assert message == '<p role="alert">this page was idle for long, or has no photo yet; drop the photo again</p>'
        assert len(rest) == parts
