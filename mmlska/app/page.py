"""The page itself: its layout in Gradio and what happens when something is dropped, chosen or clicked."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

try:
    import gradio as gr
except ImportError as error:
    raise ImportError(f'the page needs Gradio ({error}): pip install "mmlska[app]"') from error

from ..images import read_photo as read_example
from ..images import square
from .field import draw_field, point_field
from .models import Models
from .views import MIN_SCORE, View, draw_view, enlarged, legend, make_view, read_photo, zoom

NO_MODEL = 'none'
#: Events that wait for their turn; one more is refused.
MAX_WAITING = 20
#: Gradio drops the session of a page after an hour without a change, or when others need its place.
NO_PHOTO = 'this page was idle for long, or has no photo yet; drop the photo again'
INTRODUCTION = (
    '# What does the model see?\n'
    'Drop a photo: a trained model marks what it finds. Click into a result to see which pixels decide about that point.'
)
CSS = """
.gradio-container { max-width: 1500px !important; margin: 0 auto; }
#message { display: none; }
#message:has(p) { display: block; }
#message p { margin: 0; padding: .6em .9em; border-radius: 6px; background: #b42318; color: #fff; }
.heading h2 { margin: 0; font-size: 1.1em; overflow-wrap: anywhere; }
.heading p, .caption p { margin: .2em 0 0; overflow-wrap: anywhere; }
.note, .caption p, .heading p { opacity: .8; }
.legend { display: flex; flex-wrap: wrap; gap: .3em 1.2em; list-style: none; margin: 0; padding: 0; }
.swatch { display: inline-block; width: .9em; height: .9em; border-radius: 2px; margin-right: .35em; vertical-align: -.08em;
  border: 1px solid #8888; }
.picture .image-frame { width: 100%; }
.picture img { width: 100%; max-height: 65vh; object-fit: scale-down; }
.result img { cursor: crosshair; }
#examples .grid-wrap { min-height: 0; max-height: none; padding-top: 1.8em; }
#examples .grid-container { grid-template-columns: repeat(4, minmax(0, 1fr)); }
"""
SIDES = 2
OVERLAY_PARTS, FIELD_PARTS = 4 * SIDES, 3 * SIDES  # see Side
EVERY_PART = OVERLAY_PARTS + FIELD_PARTS


@dataclass
class Session:
    """What one visitor looks at."""

    image: np.ndarray  # in BGR order
    size: str  # one line about the photo
    views: list[View]  # one for each model shown
    point: tuple[int, int] | None = None  # that was clicked, (column, row)


class Page:
    """The page over some models.

    Args:
        models: Those to choose from.
        examples: Photos that are offered.
        max_upload_mb: Megabytes that a photo may have.
        max_megapixels: Millions of pixels that a photo may have.
    """

    def __init__(
        self, models: Models, examples: Sequence[Path] = (), max_upload_mb: int = 20, max_megapixels: float = 50
    ) -> None:
        for name, value in (('max_upload_mb', max_upload_mb), ('max_megapixels', max_megapixels)):
            if value <= 0:
                raise ValueError(f'{name}={value} lets no photo in; give more than 0')
        self.models, self.examples = models, list(examples)
        self.max_upload_mb, self.max_megapixels = max_upload_mb, max_megapixels
        self.make_room: Callable[[], None] = lambda: None  # before pictures are written; see serve

    def build(self) -> gr.Blocks:
        """Lay the page out; ``launch()`` of the result serves it."""
        names = self.models.names
        with gr.Blocks(title='mmlska', analytics_enabled=False, delete_cache=(3600, 3600)) as page:
            gr.Markdown(INTRODUCTION)
            session = gr.State(None, time_to_live=3600)
            message = gr.HTML(elem_id='message', visible=True)
            with gr.Row():
                with gr.Column(scale=1, min_width=280):
                    upload = gr.File(
                        label=f'Photo, up to {self.max_upload_mb} MB', type='filepath', height=150, elem_id='upload'
                    )
                    gallery = gr.Gallery(
                        [square(read_example(path), 160)[..., ::-1] for path in self.examples],
                        label='Examples: click one',
                        columns=4,
                        height='auto',
                        allow_preview=False,
                        interactive=False,
                        buttons=[],
                        visible=bool(self.examples),
                        elem_id='examples',
                    )
                    first = gr.Dropdown(names, value=names[0], label='Model', elem_id='model')
                    second = gr.Dropdown(
                        [NO_MODEL, *names],
                        value=NO_MODEL,
                        label='Compare with',
                        elem_id='compare',
                        visible=len(names) > 1,
                    )
                    score = gr.Slider(MIN_SCORE, 0.95, 0.3, step=0.05, label='Lowest score of boxes', elem_id='score')
                    opacity = gr.Slider(0, 1, 0.6, step=0.05, label='Opacity', elem_id='opacity')
                    stage = gr.Radio(
                        [('1', 0), ('2', 1), ('3', 2), ('last', -1)],
                        value=-1,
                        label='Receptive field: stage of the backbone',
                        elem_id='stage',
                    )
                with gr.Column(scale=3, min_width=300):
                    with gr.Row():
                        sides = [Side(i) for i in range(SIDES)]
                    with gr.Row():
                        for i, side in enumerate(sides):
                            side.below(i)

            choice = [first, second]
            look = [score, opacity]
            overlays = [part for side in sides for part in side.overlay]
            fields = [part for side in sides for part in side.field]
            everything = [session, message, *overlays, *fields]
            pictures = [side.picture for side in sides]
            options = dict(concurrency_id='network', concurrency_limit=1, api_visibility='private')
            busy = dict(options, show_progress_on=pictures)
            quiet = dict(options, show_progress='hidden')

            upload.upload(self.open_upload, [upload, session, *choice, *look], [upload, *everything], **busy)
            if self.examples:
                gallery.select(self.open_example, [session, *choice, *look], everything, **busy)
                page.load(self.open_first, [session, *choice, *look], everything, **busy)
            for dropdown in choice:
                dropdown.input(self.change_models, [session, *choice, *look, stage], everything, **busy)
            for slider in look:
                slider.release(self.redraw, [session, *look], overlays, **quiet)
            click_options = dict(options, show_progress_on=[side.field_picture for side in sides])
            for side in sides:
                side.picture.select(self.click, [session, stage], [session, message, *fields], **click_options)
            stage.input(self.change_stage, [session, stage], [session, message, *fields], **click_options)
        return page.queue(max_size=MAX_WAITING)

    def open_upload(self, path: str, session: Session | None, *settings: Any) -> list:
        """A dropped file; the field is emptied, so that the next can be dropped."""
        return [None, *self._open(path, session, *settings)]

    def open_example(self, event: gr.SelectData, session: Session | None, *settings: Any) -> list:
        """A click on an example."""
        if not isinstance(event.index, int) or not 0 <= event.index < len(self.examples):
            return self._only_message(session, f'there is no example {event.index!r:.40}; click one that is there')
        return self._open(self.examples[event.index], session, *settings)

    def open_first(self, session: Session | None, *settings: Any) -> list:
        """The page as it opens: with an example, of the data of the first model if there is one, so that it shows what it is for."""
        data = Path(self.models[settings[0]].cfg.get('data_root') or '').name
        fitting = [path for path in self.examples if data in path.parts]
        return self._open((fitting or self.examples)[0], session, *settings)

    def _open(
        self, path: str | Path, session: Session | None, first: str, second: str, score: float, opacity: float
    ) -> list:
        try:
            image, size = read_photo(path, self.max_megapixels, self.models[first].as_stored)
            session = Session(image, size, self._views(image, first, second))
        except (FileNotFoundError, ValueError) as error:
            return self._only_message(session, error)
        return [session, '', *self._overlays(session, score, opacity), *self._fields(session, -1)]

    def change_models(
        self, session: Session | None, first: str, second: str, score: float, opacity: float, stage: int
    ) -> list:
        """Another model was chosen; photo and point stay."""
        if session is None:
            return self._only_message(session, NO_PHOTO)
        try:
            session.views = self._views(session.image, first, second)
            fields = self._fields(session, stage)
        except (FileNotFoundError, ValueError) as error:
            return self._only_message(session, error)
        return [session, '', *self._overlays(session, score, opacity), *fields]

    def redraw(self, session: Session | None, score: float, opacity: float) -> list:
        """A slider was moved: nothing is predicted again."""
        return self._overlays(session, score, opacity) if session else [gr.skip()] * OVERLAY_PARTS

    def click(self, event: gr.SelectData, session: Session | None, stage: int) -> list:
        """A point of a result was clicked."""
        if not _is_place(event.index):
            return self._only_message(
                session, f'{event.index!r:.40} is no place in a picture; click into one', FIELD_PARTS
            )
        if session is not None:
            session.point = tuple(place // zoom(session.image) for place in event.index)
        return self.change_stage(session, stage)

    def change_stage(self, session: Session | None, stage: int) -> list:
        """The receptive field of the point that was clicked last, if there is one."""
        if session is None:
            return self._only_message(session, NO_PHOTO, FIELD_PARTS)
        try:
            return [session, '', *self._fields(session, stage)]
        except ValueError as error:
            return self._only_message(session, error, FIELD_PARTS)

    def _views(self, image: np.ndarray, *names: str) -> list[View]:
        return [make_view(name, self.models[name], image) for name in names if name != NO_MODEL]

    def _overlays(self, session: Session, score: float, opacity: float) -> list:
        self.make_room()
        parts = []
        for view in session.views:
            predictor = self.models[view.model]
            heading = (
                f'<h2>{html.escape(view.model)}</h2>'
                f'<p>{html.escape(session.size)}; latency {view.seconds * 1000:.0f} ms on {predictor.device.type.upper()}</p>'
            )
            palette = predictor.dataset_meta['palette']
            drawn = draw_view(predictor, view, score, opacity)
            parts += [gr.update(visible=True), heading, drawn, legend(view, palette, score)]
        return _filled(parts, OVERLAY_PARTS)

    def _fields(self, session: Session, stage: int) -> list:
        self.make_room()
        parts = []
        for view in session.views if session.point else ():
            found = point_field(self.models[view.model], session.image, session.point, stage)
            half, nearly_all = found.squares
            caption = (
                f'<p><b>{html.escape(view.model)}</b>, point ({found.point[0]}, {found.point[1]}): half of the influence comes from a '
                f'square of {half.side} px (green), 99 % from {nearly_all.side} px (blue). The brighter a pixel, the more it matters; '
                f'logarithmic scale.</p>'
            )
            parts += [gr.update(visible=True), enlarged(draw_field(session.image, found)), caption]
        return _filled(parts, FIELD_PARTS)

    def _only_message(self, session: Session | None, error: Exception | str, parts: int = EVERY_PART) -> list:
        text = html.escape(' '.join(str(error).split()))
        return [session, f'<p role="alert">{text}</p>' if text else '', *[gr.skip()] * parts]


class Side:
    """The column of one model; its receptive field stands in a row below, so that the two of a comparison are level."""

    def __init__(self, index: int) -> None:
        with gr.Column(min_width=300, visible=False, elem_id=f'side{index}') as column:
            heading = gr.HTML(elem_classes='heading')
            self.picture = picture('Prediction (click a point)', 'result')
            key = gr.HTML()
        self.overlay = [column, heading, self.picture, key]

    def below(self, index: int) -> None:
        """Lay out the second row."""
        with gr.Column(min_width=300, visible=False, elem_id=f'field{index}') as column:
            self.field_picture = picture('Effective receptive field', 'receptive-field')
            caption = gr.HTML(elem_classes='caption')
        self.field = [column, self.field_picture, caption]


def picture(label: str, name: str) -> gr.Image:
    """A picture that is shown and not edited."""
    return gr.Image(
        label=label, format='png', interactive=False, buttons=['download', 'fullscreen'], elem_classes=['picture', name]
    )


def _filled(parts: list, count: int) -> list:
    """Parts of the sides that show something, and the others hidden."""
    each = count // SIDES
    hidden = [gr.update(visible=False), *[None] * (each - 1)]
    return parts + hidden * (SIDES - len(parts) // each)


def _is_place(index: Any) -> bool:
    return isinstance(index, list | tuple) and len(index) == 2 and all(isinstance(place, int) for place in index)
