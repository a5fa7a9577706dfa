"""The sections of the report of a training: each a function of the run that returns a piece of the page."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config

from ..analysis.curves import Curve, read_scalars
from ..analysis.errors import object_confusion, precision_curves
from ..analysis.overlaps import iou_of_classes
from ..bands import read_picture
from ..command_line import sibling
from ..engine.resume import find_resumable
from ..images import read_header
from ..metric_names import METRICS, in_percent
from ..results import run_environment
from ..text import counted
from .figures import draw_precision, draw_run, draw_sizes
from .html import Bar, facts_table, figure, keys, matrix, note, number, table
from .labels import count_labels
from .pictures import Picture, encode, paint, shown_text
from .record import FOLDER, IMAGES_OF_BATCH, read_facts
from .validation import BYTES, SCORE_THR, SIDE, Shown, Validation, read_validation

_MOST_CONFIG = 200_000  # letters


class NotMade(Exception):
    """Why a section has nothing to show: no error, but what the run has not come to."""


@dataclass
class Run:
    """A training, as its work directory has it.

    Attributes:
        work_dir: The folder.
        settings: Returns the effective config and its file there.
        datasets: Return the training and the validation data, by the name of the split.
    """

    work_dir: Path
    settings: Callable[[], tuple[Config, Path]]
    datasets: Mapping[str, Callable[[], Any]]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the training noted of itself."""
        return read_facts(self.work_dir)

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """What was logged, of this training alone where the work directory has logs of several."""
        return read_scalars(self.work_dir, self.facts.get('logs'))

    @cached_property
    def validation(self) -> Validation:
        """The last validation."""
        path = self.work_dir / FOLDER / 'validation.npz'
        if not path.is_file():
            raise NotMade(self.facts.get('missing', {}).get('validation') or 'no validation has come to its end yet')
        return read_validation(path)

    @cached_property
    def checkpoint(self) -> Path | None:
        """The best checkpoint, or else the furthest; None if there is none."""
        best = sorted(self.work_dir.glob('best_*.pth'), key=lambda path: path.stat().st_mtime)
        return best[-1] if best else find_resumable(self.work_dir)[0]

    @property
    def unit(self) -> str:
        """What validations are counted in."""
        return self.facts.get('steps', {}).get('unit', 'epoch or iteration')


def summary(run: Run) -> str:
    """How far the run came, and what it reached."""
    facts, steps = run.facts, run.facts.get('steps')
    plan = f', {counted(steps["total"], steps["unit"])}' if steps else ''
    state = f'finished{plan}' if 'finished' in facts else f'stopped before its end{plan}; or still running'
    rows = {'state': state if facts else 'not known: the run was started with --no-report'}
    rows |= {name: facts[name] for name in ('started', 'finished', 'iterations') if name in facts}
    try:
        logged = run.curves
    except FileNotFoundError:
        logged = {}
    if 'loss' in logged:
        at, values = logged['loss']
        rows['last logged loss'] = f'{values[-1]:.4g} at iteration {at[-1]}'
    for name, (at, values) in logged.items():
        if name in METRICS:
            percent = [next(iter(in_percent({name: value}).values())) for value in values]
            best = int(np.argmax(values))
            rows[METRICS[name][0]] = f'{percent[-1]:.4g} at the end; best {percent[best]:.4g}, {run.unit} {at[best]}'
    rows['checkpoint'] = str(run.checkpoint or 'none yet')
    return facts_table(rows)


def commands(run: Run) -> str:
    """What to type next."""
    cfg, config = run.settings()
    programs = run.facts.get('programs', {})

    def line(name: str, *words: object) -> str:
        return shlex.join([*programs.get(name, sibling(name)), *map(str, words)])

    lines, checkpoint = {}, run.checkpoint
    if checkpoint is not None:
        lines['Evaluate the checkpoint'] = line('test', config, checkpoint)
        if cfg.get('default_scope') in ('mmdet', 'mmseg'):
            model = '--config', config, '--checkpoint', checkpoint
            lines['Predict images'] = line('predict', 'FOLDER', *model, '--out', run.work_dir / 'predictions')
            lines['Export to ONNX'] = line('export', config, checkpoint, '--out', run.work_dir / 'model.onnx')
    again = run.facts.get('resume') or line('train', config, '--work-dir', run.work_dir, '--resume')
    lines['Continue the training where it was stopped'] = again
    lines['Write this page again'] = line('report', run.work_dir)
    return ''.join(f'<h3>{title}</h3><pre class="command">{shown_text(text)}</pre>' for title, text in lines.items())


def curves(run: Run) -> str:
    """Loss, learning rate and metrics."""
    text = 'As the log has it. A curve of more than 300 points is drawn by the means of neighbours.'
    return note(text) + draw_run(run.curves, run.unit)


def batches(run: Run) -> str:
    """The first training batches."""
    path = run.work_dir / FOLDER / 'batches.json'
    if not path.is_file():
        raise NotMade(run.facts.get('missing', {}).get('batches') or 'the run kept no batches')
    kept = json.loads(path.read_text(encoding='utf-8'))
    classes, palette = kept['classes'], kept['palette']
    text = 'What the data preprocessor got: images after augmentation, before they are normalised.'
    parts = [note(f'{text} At most {IMAGES_OF_BATCH} of a batch.')]
    for iteration, pictures in enumerate(kept['batches'], start=kept['first']):
        drawn = ''.join(figure(Picture(**plain), classes, palette) for plain in pictures)
        parts.append(f'<h3>Iteration {iteration}</h3><div class="pictures">{drawn}</div>')
    return ''.join([*parts, keys(classes, palette)])


def labels(run: Run) -> str:
    """How much is labelled of each class in each split."""
    by_split, classes, lines = {}, (), []
    for split, dataset in run.datasets.items():
        data = dataset()
        classes = classes or tuple(data.metainfo['classes'])
        counts = by_split[split] = count_labels(data, len(classes))
        part = '' if counts.looked_at == counts.total else f', of which {counts.looked_at} were counted, evenly spread'
        lines.append(f'{split}: {number(counts.total)} images{part}, {number(counts.counts.sum())} {counts.unit}')
    header, rows = ['class'], [[name] for name in classes]
    for split, counts in by_split.items():
        header += [f'{split}, {counts.unit}', ''] + ([] if counts.unit == 'images' else [f'{split}, images'])
        whole, most = max(counts.counts.sum(), 1), max(counts.counts.max(), 1)
        for row, count, images in zip(rows, counts.counts, counts.images):
            row += [f'{100 * count / whole:.2f} %' if counts.unit == 'pixels' else number(count), Bar(count / most)]
            row += [] if counts.unit == 'images' else [number(images)]
    body = note('; '.join(lines) + '.') + table(header, rows)
    if any(len(counts.sizes) for counts in by_split.values()):
        body += '<h3>Sizes and shapes of the boxes</h3>' + draw_sizes(by_split)
    return body


def predictions(run: Run) -> str:
    """Predictions beside labels."""
    kept = run.validation
    drawn = [_shown(shown, kept) for shown in kept.shown]
    text = f'{len(drawn)} of {number(kept.total)} validation images, evenly spread, from {kept.source}'
    if kept.task == 'detection':
        text += f'; detections with a score of {SCORE_THR} or more'
        best = max((image.scores.max(initial=0) for image in kept.images), default=0)
        text += f', which none has: the best score is {best:.2g}' if best < SCORE_THR else ''
    head = note(f'{text}.')
    if kept.task == 'classification':
        return f'{head}<div class="pictures">{"".join(drawn)}</div>'
    return f'{head}{keys(kept.classes, kept.palette)}<div class="pairs">{"".join(drawn)}</div>'


def _shown(shown: Shown, kept: Validation) -> str:
    classes, palette = kept.classes, kept.palette
    if kept.task == 'classification':
        text = f'labelled {classes[int(shown.truth)]}, predicted {classes[int(shown.found)]}'
        return figure(Picture('', shown.path, (1, 1), note=text), classes, palette)
    try:
        header = read_header(shown.path, max_pixels=None)
        small = read_picture(shown.path, as_stored=kept.as_stored, bands=kept.bands, side=SIDE)
    except (OSError, ValueError) as error:
        return f'<p class="missing">{shown_text(error)}</p>'
    size, pair = header.stored if kept.as_stored else header.upright, []
    for name, index in (('labelled', shown.truth), ('predicted', shown.found)):
        boxes, numbers, scores, colors = [], [], [], palette
        if kept.task == 'detection':
            image = kept.images[shown.place]
            wanted = image.scores >= SCORE_THR
            boxes, numbers = (
                (image.true_boxes, image.true_labels)
                if name == 'labelled'
                else (image.boxes[wanted], image.labels[wanted])
            )
            scores = [] if name == 'labelled' else image.scores[wanted].tolist()
            boxes, numbers, colors = boxes.tolist(), numbers.tolist(), [palette[label] for label in numbers]
        painted = small
        if index.size:
            index = cv2.resize(index, small.shape[1::-1], interpolation=cv2.INTER_NEAREST)
            painted = paint(small, index, colors, 0.45 if kept.task == 'detection' else 0.6)
        title = f'{name}: {len(boxes)}' if kept.task == 'detection' else name
        pair.append(figure(Picture(title, encode(painted, BYTES), size, boxes, numbers, scores), classes, palette))
    return f'<figure class="pair"><div>{"".join(pair)}</div><figcaption>{shown_text(Path(shown.path).name)}</figcaption></figure>'


def errors(run: Run) -> str:
    """What is right and what is confused: by precision and recall, IoU or accuracy."""
    kept = run.validation
    if kept.counted < kept.total:
        lead = f'{number(kept.counted)} of the {number(kept.total)} validation images, evenly spread'
    else:
        lead = f'All {number(kept.total)} validation images'
    parts = {'detection': _box_errors, 'segmentation': _map_errors, 'classification': _class_errors}
    return parts[kept.task](kept, f'{lead}, from {kept.source}.')


def _box_errors(kept: Validation, lead: str) -> str:
    found = kept.predictions()
    curves, confusion = precision_curves(found), object_confusion(found, SCORE_THR)
    objects = confusion[:-1].sum(1)
    if not objects.any():
        raise NotMade('no object is labelled in these images')
    rows = [
        [
            name,
            number(count),
            '' if np.isnan(curve[0]) else f'{100 * curve.mean():.1f}',
            Bar(np.nan_to_num(curve.mean())),
        ]
        for name, count, curve in zip(kept.classes, objects, curves)
    ]
    # The mean over classes without objects, which have no precision, is that of the others.
    value = 100 * np.nanmean(curves.mean(1))
    text = f'{lead} AP at IoU 0.5 is {value:.1f}: the mean over the classes with objects.'
    about = (
        f'Boxes with a score of {SCORE_THR} or more that overlap an object by an IoU of at least 0.5. '
        'The last column has missed objects, the last row boxes on nothing.'
    )
    return (
        f'{note(text)}{draw_precision(curves, kept.classes)}'
        f'{table(["class", "objects", "AP50", ""], rows)}'
        f'<h3>Confusion matrix</h3>{note(about)}{matrix(confusion, [*kept.classes, "nothing"], percent=False, always=1)}'
    )


def _map_errors(kept: Validation, lead: str) -> str:
    confusion, values = kept.confusion, iou_of_classes(kept.confusion)
    labelled, right = confusion.sum(1), np.diag(confusion)
    if not labelled.any():
        raise NotMade('no pixel is labelled in these images')
    rows = [
        [
            name,
            '' if np.isnan(value) else f'{100 * value:.2f}',
            Bar(np.nan_to_num(value)),
            f'{100 * ok / count:.2f}' if count else '',
            f'{100 * count / labelled.sum():.2f} %',
        ]
        for name, value, ok, count in zip(kept.classes, values, right, labelled)
    ]
    text = f'{lead} mIoU {100 * np.nanmean(values):.2f}, pixel accuracy {100 * right.sum() / labelled.sum():.2f}.'
    return (
        f'{note(text)}{table(["class", "IoU", "", "accuracy", "of the labelled pixels"], rows)}'
        f'<h3>Confusion matrix</h3>{note("Percent of the labelled pixels of each row.")}{matrix(confusion, kept.classes, percent=True)}'
    )


def _class_errors(kept: Validation, lead: str) -> str:
    labelled, right = kept.confusion.sum(1), np.diag(kept.confusion)
    rows = [
        [name, number(count), f'{100 * ok / max(count, 1):.1f}', Bar(ok / max(count, 1))]
        for name, ok, count in zip(kept.classes, right, labelled)
    ]
    text = f'{lead} Top-1 accuracy {100 * right.sum() / max(labelled.sum(), 1):.2f}.'
    return (
        f'{note(text)}{table(["class", "images", "top-1", ""], rows)}'
        f'<h3>Confusion matrix</h3>{matrix(kept.confusion, kept.classes, percent=False)}'
    )


def config(run: Run) -> str:
    """The effective config."""
    _, path = run.settings()
    text = path.read_text(encoding='utf-8')
    rest = note(f'The first {_MOST_CONFIG} letters; the file has the rest.') if len(text) > _MOST_CONFIG else ''
    body = f'<pre>{shown_text_lines(text[:_MOST_CONFIG])}</pre>'
    return f'<details><summary>{shown_text(path)}</summary>{rest}{body}</details>'


def shown_text_lines(text: str) -> str:
    """A text of several lines for a page."""
    return '\n'.join(map(shown_text, text.split('\n')))


def versions(run: Run) -> str:
    """Hardware and versions."""
    found = run.facts.get('environment') or run_environment()
    where = 'Of the training, at its start.' if 'environment' in run.facts else 'Of where this page was written.'
    return note(where) + facts_table({'hardware': found['hardware'], **found['versions']})
