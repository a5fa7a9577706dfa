"""Whatever happens to a labelled folder: it is read, or an error in one line says why not; nothing gets lost in silence."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from label_mutations import MUTATIONS
from scene_sets import WRITERS, random_scenes

from mmlska.own_data.check import check_folder
from mmlska.own_data.sources import require_source

_LONGEST = 700
_LINE = 900  # three places of 200 letters, and a kind
_SECONDS = 20
#: The label files of each format.
_SUFFIXES = {
    **dict.fromkeys(('coco', 'labelme', 'via', 'supervisely'), ('.json',)),
    **dict.fromkeys(('yolo', 'yolo-outlines'), ('.txt', '.yaml')),
    **dict.fromkeys(('voc-folders', 'rolabelimg', 'cvat'), ('.xml',)),
    'voc': ('.xml', '.txt'),
    'dota': ('.txt',),
    **dict.fromkeys(('csv', 'rle'), ('.csv',)),
}
_CASES = [
    (name, kind)
    for name, suffixes in _SUFFIXES.items()
    for kind, mutation in MUTATIONS.items()
    if {*suffixes, '.jpg'} & {*mutation.suffixes}
]


class Hung(BaseException):
    """A test that waits for something that never comes."""


@pytest.fixture(autouse=True)
def _in_time():
    if not hasattr(signal, 'setitimer'):
        yield
        return

    def stop(*_):
        raise Hung

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@dataclass
class Outcome:
    """What came of a folder: how much was read, and all that was said of it."""

    read: int
    said: set[tuple[str, object]]  # a kind of fault, and its place or number


def _call(function: Callable, root: Path) -> tuple[object, str | None]:
    """What a function returns, or its error."""
    try:
        return function(root), None
    except (ValueError, FileNotFoundError) as caught:
        error = caught
    message = str(error)
    meant = not isinstance(error, UnicodeError) and str(root) in message
    assert meant, f'an error that happened, and names no file: {error!r}'
    assert message.isprintable(), repr(message)[:_LONGEST]
    assert len(message) <= _LONGEST, message
    return None, message


def outcome(root: Path) -> Outcome | None:
    """Check a folder and read it for training; None where training stops with an error."""
    checked, _ = _call(lambda folder: check_folder(str(folder)), root)
    labels, stopped = _call(lambda folder: require_source(folder, 'mmdet').read(), root)
    if stopped:
        return None
    images = [image for images in labels.splits.values() for image in images]
    said = {(reason, place) for reason, count in labels.left_out.items() for place in range(count)}
    lines = list(labels.notes)
    for note in lines:
        counted = re.match(r'(?:left out: )?(\d+) x ([^:]*)', note)
        said |= {(counted[2], place) for place in range(int(counted[1]))} if counted else {(note, 0)}
    if checked is not None:
        checked.report.text()
        lines += [finding.line for finding in checked.report.findings]
        said |= {(finding.kind, place) for finding in checked.report.findings for place in finding.places}
    assert all(len(line) <= _LINE and line.isprintable() for line in lines), lines
    return Outcome(len(images) + sum(len(image.annotations) for image in images), said)


@pytest.fixture(scope='module')
def sets(tmp_path_factory) -> Callable[[str], tuple[Path, Outcome]]:
    """A small set in each format, written once, and what comes of it as it is."""
    made: dict[str, tuple[Path, Outcome]] = {}

    def get(name: str) -> tuple[Path, Outcome]:
        if name not in made:
            root = tmp_path_factory.mktemp('sets') / 'data'
            number = list(WRITERS).index(name)
            WRITERS[name](random_scenes(np.random.default_rng(number)), root)
            made[name] = root, outcome(root)
        return made[name]

    return get


def check_mutation(name: str, kind: str, seed: int, whole: tuple[Path, Outcome], root: Path) -> None:
    """Change a copy of a set, and hold what comes of it against what came of the set."""
    shutil.copytree(whole[0], root)
    mutation = MUTATIONS[kind]
    changed = mutation(root, np.random.default_rng(seed))
    after, before = outcome(root), whole[1]
    if after is None or after.read >= before.read or changed.lower().endswith(mutation.loses_in_silence or ('\0',)):
        return
    assert after.said - before.said, f'{before.read - after.read} of {before.read} lost in silence: {changed} is {kind}'


@pytest.mark.parametrize(('name', 'kind'), _CASES)
def test_nothing_gets_lost_in_silence(name, kind, sets, tmp_path):
    check_mutation(name, kind, len(kind), sets(name), tmp_path / 'd')
