"""Shape against texture: which of two conflicting cues a model's decisions follow.

An object has the shape of one class and the texture of another. A decision for the class of its shape follows the shape, one for the
class of its texture the texture; anything else follows neither. The shape bias is shape / (shape + texture). It says something only
of a model that met textures tied to classes in training: where they were random, texture was never a cue.

Source: Geirhos et al., ImageNet-trained CNNs are biased towards texture, ICLR 2019 (arXiv 1811.12231), section 2.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import numpy as np
from mmengine.config import Config

from ..datasets.scenes import SHAPES, TEXTURES
from ..images import MAX_PIXELS, images_below
from .overlaps import box_iou
from .photos import require_photos
from .predictions import MapImage, predict

#: Classes of the published cue-conflict images.
CUE_CONFLICT_CLASSES = (
    'airplane', 'bear', 'bicycle', 'bird', 'boat', 'bottle', 'car', 'cat',
    'chair', 'clock', 'dog', 'elephant', 'keyboard', 'knife', 'oven', 'truck',
)  # fmt: skip
_CUE_NAME = re.compile(r'(?:.*_)?([a-z]+)\d+-([a-z]+)\d+(?:\.[a-z]+)?')
OUTCOMES = ('shape', 'texture', 'other', 'none')


@dataclass(frozen=True, eq=False)
class CueObject:
    """An object of conflicting cues: the classes of its shape and of its texture, its box and its visible pixels."""

    shape: str
    texture: str
    box: np.ndarray  # left, top, right, bottom in pixels
    mask: np.ndarray  # bool (H, W)


def wilson_interval(successes: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the Wilson score interval of a share; with ``z`` as it is, that of 95 %.

    It takes the decisions as independent, and stays inside 0..1 for few of them. Without any it is (0, 1).

    Source: Wilson, JASA 22 (1927), 209.

    Example:
        >>> [round(end, 3) for end in wilson_interval(8, 10)]
        [0.49, 0.943]
    """
    if not 0 <= successes <= total:
        raise ValueError(f'{successes} successes of {total} are impossible; use 0 to the total')
    if not total:
        return 0.0, 1.0
    share, extra = successes / total, z * z / total
    center = (share + extra / 2) / (1 + extra)
    half = z * (share * (1 - share) / total + extra / (4 * total)) ** 0.5 / (1 + extra)
    return max(center - half, 0.0), min(center + half, 1.0)


def tally(decisions: Iterable[tuple[str, str, str | None]]) -> dict:
    """Count which cue the decisions follow.

    Args:
        decisions: For each object the class of its shape, of its texture, and the class decided for or None for no decision. Objects
            whose cues agree are left out.

    Returns:
        Plain data: the counts ``shape``, ``texture``, ``other`` (a third class) and ``none``, ``shape_bias`` (0..1, None without a
        decision for either cue), its ``interval`` (Wilson, 95 %), and ``per_class`` the same for the objects of each shape.

    Example:
        >>> result = tally([('cat', 'dog', 'cat'), ('cat', 'dog', 'dog'), ('cat', 'dog', 'cat'), ('dog', 'cat', None)])
        >>> result['shape'], result['texture'], result['none'], round(result['shape_bias'], 3)
        (2, 1, 1, 0.667)
    """
    conflicts = [item for item in decisions if item[0] != item[1]]
    result = _share(conflicts)
    shapes = dict.fromkeys(item[0] for item in conflicts)
    result['per_class'] = {name: _share([item for item in conflicts if item[0] == name]) for name in shapes}
    return result


def _share(conflicts: Sequence[tuple[str, str, str | None]]) -> dict:
    counts = dict.fromkeys(OUTCOMES, 0)
    for shape, texture, decided in conflicts:
        outcome = {None: 'none', shape: 'shape', texture: 'texture'}.get(decided, 'other')
        counts[outcome] += 1
    followed = counts['shape'] + counts['texture']
    return {
        **counts,
        'shape_bias': counts['shape'] / followed if followed else None,
        'interval': list(wilson_interval(counts['shape'], followed)),
    }


def parse_cue_conflict_name(name: str) -> tuple[str, str]:
    """Return the classes of shape and texture that the file name of a published cue-conflict image tells.

    Raises:
        ValueError: If the name has another form, or a class that is none of the 16.

    Example:
        >>> parse_cue_conflict_name('cat1-truck3.png'), parse_cue_conflict_name('0012_cue_dnn_dog_00_dog10-bird2.png')
        (('cat', 'truck'), ('dog', 'bird'))
    """
    match = _CUE_NAME.fullmatch(Path(name).name)
    unknown = [part for part in match.groups() if part not in CUE_CONFLICT_CLASSES] if match else [name]
    if unknown:
        raise ValueError(
            f'{name} names no shape and texture ({unknown[0]}); names are like cat1-truck3.png, '
            f'of the classes {", ".join(CUE_CONFLICT_CLASSES)}'
        )
    return match[1], match[2]


def shape_bias_from_decisions(names: Sequence[str], decisions: Sequence[str | None]) -> dict:
    """Return the shape bias of a classifier on the published cue-conflict images.

    Args:
        names: File names, such as 'cat1-truck3.png': shape and texture.
        decisions: The class that the classifier chose for each, one of the 16 names; None or 'na' for none.

    Returns:
        As :func:`tally`.

    Raises:
        ValueError: If a name or a class is unknown, or the numbers differ.

    Example:
        >>> result = shape_bias_from_decisions(['cat1-truck3.png', 'dog2-car1.png', 'cat4-cat7.png'], ['truck', 'dog', 'cat'])
        >>> result['shape'], result['texture'], result['shape_bias']
        (1, 1, 0.5)
    """
    if len(names) != len(decisions):
        raise ValueError(f'{len(names)} file names and {len(decisions)} decisions; give one decision for each file')
    decided = [None if decision in (None, '', 'na') else decision for decision in decisions]
    unknown = sorted({d for d in decided if d is not None} - set(CUE_CONFLICT_CLASSES))
    if unknown:
        raise ValueError(f'decision {unknown[0]!r} is no class; use {", ".join(CUE_CONFLICT_CLASSES)}, or na for none')
    return tally([(*parse_cue_conflict_name(name), decision) for name, decision in zip(names, decided)])


def read_decisions(path: str | Path) -> tuple[list[str], list[str]]:
    """Read file names and decisions from a CSV file with the columns ``imagename`` and ``object_response``.

    These are the names in the published raw data of people and networks; other columns do not matter.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it lacks a column or has no rows.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'decisions {path} do not exist; give a CSV file')
    with path.open(newline='', encoding='utf-8-sig') as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        missing = [name for name in ('imagename', 'object_response') if name not in columns]
        if missing:
            raise ValueError(f'{path} has no column {missing[0]}; it needs imagename and object_response')
        rows = [(row['imagename'], row['object_response']) for row in reader]
    if not rows:
        raise ValueError(f'{path} has no decisions; it needs a row for each image')
    return [name for name, _ in rows], [decision for _, decision in rows]


def undecided_images(folder: str | Path, names: Iterable[str]) -> list[str]:
    """Return the images in a folder of the published cue-conflict set that no decision is about.

    Args:
        folder: Holds ``<shape>/cat1-truck3.png``, or the images themselves.
        names: File names of the decisions; what stands before the last underscore does not matter.

    Raises:
        ValueError: If the folder has no images, or one of another name.
    """
    images = sorted(path.name for path in images_below(folder) if path.suffix == '.png')
    if not images:
        raise ValueError(f'{folder} has no .png images; give the folder of the cue-conflict images')
    for name in images:
        parse_cue_conflict_name(name)
    decided = {Path(name).name.split('_')[-1] for name in names}
    return [name for name in images if name not in decided]


def read_conflict_scenes(root: str | Path) -> dict[str, list[CueObject]]:
    """Read the validation scenes of ``mmlska make-scenes --conflict``; objects by file name.

    Raises:
        FileNotFoundError: If ``root`` holds no scenes.
        ValueError: If their textures are not in conflict with the shapes.
    """
    root = Path(root)
    textures = scene_textures(root)
    if textures is None:
        raise FileNotFoundError(
            f'{root} holds no scenes; make them: mmlska make-scenes {quote(str(root))} --conflict --train 0 --val 200'
        )
    if textures != 'conflict':
        raise ValueError(
            f'the scenes in {root} have textures {textures!r}; make others with mmlska make-scenes --conflict'
        )
    content = json.loads((root / 'annotations/instances_validation.json').read_text())
    names = {item['id']: item['file_name'] for item in content['images']}
    shapes = {item['id']: item['name'] for item in content['categories']}
    objects: dict[str, list[CueObject]] = {name: [] for name in names.values()}
    for item in content['annotations']:
        left, top, width, height = item['bbox']
        size, runs = item['segmentation']['size'], item['segmentation']['counts']
        if min(*size, *runs) < 0 or not sum(runs) == size[0] * size[1] <= MAX_PIXELS:
            raise ValueError(
                f'{root} has an object whose runs do not fill its {size[1]}x{size[0]} pixels; make it anew'
            )
        # COCO's run lengths: by columns, the first run is of zeros.
        mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size, order='F')
        texture = SHAPES[TEXTURES.index(item['texture'])]
        box = np.array([left, top, left + width, top + height], float)
        objects[names[item['image_id']]].append(CueObject(shapes[item['category_id']], texture, box, mask))
    return objects


def scene_textures(root: str | Path) -> str | None:
    """Return the texture mode of the scenes in a folder, None where it holds none."""
    try:
        return json.loads(Path(root, 'scenes.json').read_text())['parameters']['texture']
    except (OSError, ValueError, LookupError, TypeError):
        return None


def training_textures(checkpoint: dict) -> set[str | None]:
    """Return the texture modes of the scenes that a checkpoint was trained on; None stands for data that are not here or no scenes.

    Args:
        checkpoint: Content of a checkpoint of MMEngine, which holds the config of its training.
    """
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    text = meta.get('cfg') if isinstance(meta, dict) else None
    # Found in the text: to read it as a config would run it.
    block = re.search(r'(?ms)^train_dataloader = dict\(.*?^\)|^train_dataloader = .*?(?=^\w)', text or '')
    roots = re.findall(r"data_root=\s*'([^']*)'", block[0]) if block else []
    return {scene_textures(root) for root in roots} or {None}


def texture_warning(textures: set[str | None]) -> str | None:
    """Return why the shape bias of a model trained on such textures says nothing; None if it does say something."""
    if 'class' in textures:
        return None
    how = 'train on scenes of mmlska make-scenes --texture class'
    if textures == {None}:
        return (
            f'whether its training tied texture to class could not be checked; if not, the result means nothing: {how}'
        )
    named = ' and '.join(sorted(map(str, textures)))
    return f'its training scenes have textures {named!r}, never those of the class: the result means nothing; {how}'


def decide_boxes(
    objects: Sequence[CueObject], boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray, iou_thr: float = 0.5
) -> list[int | None]:
    """Return a detector's decision for each object: the label of the best scored box whose best overlap is with that object.

    Args:
        boxes: Left, top, right, bottom in pixels, (N, 4), with labels and scores (N,).
        iou_thr: Least overlap of box and object.
    """
    decisions: list[int | None] = [None] * len(objects)
    if not objects:
        return decisions
    iou = box_iou(boxes, np.stack([item.box for item in objects]))
    for i in np.argsort(-scores, kind='stable'):
        best = int(iou[i].argmax())
        if iou[i, best] >= iou_thr and decisions[best] is None:
            decisions[best] = int(labels[i])
    return decisions


def decide_map(objects: Sequence[CueObject], prediction: np.ndarray) -> list[int]:
    """Return a segmentor's decision for each object: the most frequent class of its map (H, W) on the visible pixels."""
    return [int(np.bincount(prediction[item.mask]).argmax()) for item in objects]


def measure_shape_bias(cfg: Config, checkpoint: str, root: str | Path, score_thr: float = 0.05) -> dict:
    """Run a detector or segmentor on scenes of conflicting cues and count which cue it follows.

    Args:
        cfg: A config on those scenes (``data_root``) that went through :func:`mmlska.engine.launch.prepare`.
        checkpoint: The checkpoint file.
        root: Folder of the scenes.
        score_thr: Detections below it are no decisions.

    Returns:
        As :func:`tally`, over all objects of the validation scenes. 'none' are objects that no detection fits, or with a majority of
        background.

    Raises:
        ValueError: If the model lacks a class of the scenes or reads no photos, or the config has other test data.
    """
    require_photos(cfg, 'the scenes are')
    scenes = read_conflict_scenes(root)
    predictions = predict(cfg, checkpoint)
    wanted = {name for objects in scenes.values() for item in objects for name in (item.shape, item.texture)}
    lacking = sorted(wanted - set(predictions.classes))
    if lacking:
        raise ValueError(f'the model has no class {lacking[0]!r}; make scenes of its classes with --classes')
    decisions = []
    for image in predictions.images:
        if Path(image.path).parent != Path(root, 'images/validation').absolute():
            raise ValueError(
                f'the config tests on {image.path}, not on {root}; its test data must lie below its data_root'
            )
        objects = scenes[Path(image.path).name]
        if isinstance(image, MapImage):
            labels = decide_map(objects, image.prediction)
        else:
            kept = image.scores >= score_thr
            labels = decide_boxes(objects, image.boxes[kept], image.labels[kept], image.scores[kept])
        for item, label in zip(objects, labels):
            name = None if label is None else predictions.classes[label]
            decisions.append((item.shape, item.texture, None if name == 'background' else name))
    return tally(decisions)
