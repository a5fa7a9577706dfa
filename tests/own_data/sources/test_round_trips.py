"""What one program writes in a format is read as it was written: splits, classes, boxes, outlines and masks."""

from __future__ import annotations

import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from random_scenes import BOX, MASK, Scene, Thing
from scene_sets import WRITERS, random_scenes

from mmlska.own_data.check import check_folder
from mmlska.own_data.report import WARNING
from mmlska.own_data.sources import find_source, require_source
from mmlska.own_data.sources.instance_labels import InstanceLabels, LabelledImage

_NOT_USED = 'photo without a label file, not used'


def _name(path: str) -> str:
    return unicodedata.normalize('NFC', Path(path).name)


def _box_fault(thing: Thing, found: dict, tolerance: float) -> float:
    """How far a box is off; numbers of it are sums of two rounded ones."""
    left, top, width, height = (np.subtract(found['bbox'], thing.box)).tolist()
    return max(map(abs, (left, top, left + width, top + height))) - tolerance


def _outline_fault(thing: Thing, found: dict, tolerance: float) -> float:
    """How far the corners are off, from whichever the outline begins and whichever way it goes."""
    if len(found['segmentation']) != 1 or len(found['segmentation'][0]) != len(thing.outline):
        return np.inf
    wanted, corners = (np.reshape(flat, (-1, 2)) for flat in (thing.outline, found['segmentation'][0]))
    turns = [np.roll(corners[::way], step, 0) for way in (1, -1) for step in range(len(corners))]
    return min(np.abs(turn - wanted).max() for turn in turns) - tolerance


def _mask_fault(thing: Thing, found: dict) -> float:
    runs = found['segmentation']
    if isinstance(runs['counts'], list):
        runs = coco_mask.frPyObjects(runs, *runs['size'])
    return float(np.abs(coco_mask.decode(runs) - thing.mask.astype(int)).max())


def _is_same(thing: Thing, found: dict, classes: list[str], tolerance: float) -> bool:
    if classes[found['category_id'] - 1] != thing.name or found['iscrowd']:
        return False
    if (thing.kind == BOX) != ('segmentation' not in found) or _box_fault(thing, found, tolerance) > 0:
        return False
    if thing.kind == MASK:
        return isinstance(found['segmentation'], dict) and _mask_fault(thing, found) == 0
    return thing.kind == BOX or _outline_fault(thing, found, tolerance) <= 0


def _compare(scenes: list[Scene], labels: InstanceLabels, tolerance) -> None:
    every: dict[str, tuple[str, LabelledImage]] = {}
    for split, images in labels.splits.items():
        for image in images:
            assert _name(image.entry['file_name']) not in every
            every[_name(image.entry['file_name'])] = split, image
    assert {name: split for name, (split, _) in every.items()} == {_name(s.name): s.split or '' for s in scenes}
    assert set(labels.classes) == {thing.name for scene in scenes for thing in scene.things}
    for scene in scenes:
        image = every[_name(scene.name)][1]
        assert (image.entry['width'], image.entry['height']) == scene.size
        rest = list(image.annotations)
        for thing in scene.things:
            same = next((a for a in rest if _is_same(thing, a, labels.classes, tolerance(scene))), None)
            assert same is not None, f'{scene.name}: {thing} is not among {rest}'
            rest.remove(same)
        assert rest == []


@pytest.mark.parametrize('name', WRITERS)
@settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # a smaller seed is no smaller set
    suppress_health_check=list(HealthCheck),
)
@given(seed=st.integers(0, 1 << 32))
def test_written_and_read_back(name, seed):
    writer = WRITERS[name]
    scenes = random_scenes(np.random.default_rng(seed))
    wanted = [scene for scene in writer.carried(scenes) if scene.things or writer.empty]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / 'my data'
        writer(scenes, root)
        for label_format in (writer.reader, None):
            labels = require_source(root, 'mmdet', label_format=label_format).read()
            _compare(wanted, labels, writer.tolerance)
            assert not labels.left_out
            assert [note for note in labels.notes if _NOT_USED not in note] == []
        recognised = find_source(root, 'mmdet')
        assert (recognised.name, list(recognised.also)) == (writer.reader, [])
        report = check_folder(str(root)).report
        assert (report.errors, report.images) == (0, len(wanted))
        kinds = {finding.kind for finding in report.findings if finding.level == WARNING}
        # Formats that leave out photos without objects may leave fewer for training.
        swapped = 'fewer images to train on than to validate with; are they swapped?'
        assert kinds <= {'image without annotations', swapped, _NOT_USED}
