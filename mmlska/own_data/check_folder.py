"""Check a folder or the data sets of a config: what ``tools/check_dataset.py`` and ``tools/train.py --check`` call."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mmengine.config import Config

from ..files import is_inside
from .adapt_config import leaves
from .check import ERROR, WARNING, Report, check_coco, check_masks
from .layout import LEADS_OUT, is_file, leading_out, refuse_leading_out
from .palettes import read_palette
from .sources import coco as coco_files
from .sources import masks as mask_files
from .sources.coco import CocoFile
from .sources.masks import Labels, MaskPair
from .use import find_palette


class Checked:
    """A report and the parsed data that it is about, for pictures and mending."""

    def __init__(
        self, report: Report, root: Path, files: list[CocoFile] | None, pairs: list[MaskPair], labels: Labels | None
    ):
        self.report, self.root, self.files, self.pairs, self.labels = report, root, files, pairs, labels


def check_folder(folder: str, *, cfg: Config | None = None, palette: str | None = None) -> Checked:
    """Check a folder of images with COCO files or masks.

    Args:
        folder: The folder.
        cfg: A config to compare the boxes with the anchors of; it also says which kind of labels is meant where both are there.
        palette: File with names and colours of the classes of masks.

    Raises:
        FileNotFoundError: If the folder or the palette does not exist.
        ValueError: If there are no labels in it.
    """
    root = _folder(folder)
    checked = _check_labels(root, folder, cfg, palette)
    for path in leading_out(root):
        checked.report.add(ERROR, LEADS_OUT, str(path.relative_to(root)))
    return checked


def _folder(folder: str) -> Path:
    try:
        root = Path(folder).expanduser().resolve()
        found = root.is_dir()
    except (OSError, RuntimeError, ValueError):  # too long a name, a circle of links
        found = False
    if not found:
        raise FileNotFoundError(f'{folder} is not a folder; give the one that holds the images and labels, or a config')
    return root


def _check_labels(root: Path, folder: str, cfg: Config | None, palette: str | None) -> Checked:
    kind = cfg.default_scope if cfg is not None else None
    files = coco_files.find_coco(root) if kind != 'mmseg' and not palette else []
    if files:
        report = check_coco(files, scale=_input_scale(cfg))
        _compare_anchors(report, cfg)
        return Checked(report, root, files, [], None)
    pairs, alone = mask_files.find_pairs(root) if kind != 'mmdet' else ([], [])
    if not pairs:
        refuse_leading_out(root)
        raise ValueError(
            f'{folder} has no labels that are understood: no .json in COCO format, no masks with the names of the images; '
            f'see docs/own_data.md'
        )
    return _check_mask_folder(root, pairs, alone, palette)


def _check_mask_folder(root: Path, pairs: list[MaskPair], alone: list[Path], palette: str | None) -> Checked:
    readable = []
    for pair in pairs:
        try:
            mask_files.scan_one(pair)
            readable.append(pair)
        except ValueError:
            continue  # check_masks() names it
    path = find_palette(root, palette)
    named = read_palette(path) if path else None
    labels, message = None, None
    try:
        labels = mask_files.understand(readable, named, asked=bool(palette)) if readable else None
    except ValueError as error:
        message = str(error)
        if named and all(pair.indexed for pair in readable):
            names = [c.name for c in named]
            labels = Labels(names, list(range(len(names))), [[0, 0, 0]] * len(names), plain=True)
    report = check_masks(pairs, labels, alone)
    if message and not report.errors:
        report.add(ERROR, 'classes', message)
    for note in labels.notes if labels else ():
        report.add(WARNING, 'classes', note)
    return Checked(report, root, None, pairs, labels)


def check_config(cfg: Config) -> Checked:
    """Check the data sets of a config, as their own classes find them.

    Raises:
        FileNotFoundError: If an annotation file or folder is missing.
        ValueError: If the config is neither a detector's nor a segmentor's.
    """
    from mmengine.registry import DATASETS, init_default_scope

    from mmlska.engine.config import check_data

    if cfg.get('default_scope') not in ('mmdet', 'mmseg'):
        raise ValueError(
            f'only the data of detectors and segmentors can be checked; the config has default_scope={cfg.get("default_scope")!r}'
        )
    init_default_scope(cfg.default_scope)
    check_data(cfg, ('train', 'val', 'test'))
    datasets = []
    for split in ('train', 'val', 'test'):
        for dataset in leaves(cfg[f'{split}_dataloader'].dataset):
            # The files count, not what is done with them.
            built = DATASETS.build(dict(dataset, pipeline=[], lazy_init=True))
            if all((built.ann_file, built.data_prefix) != (b.ann_file, b.data_prefix) for _, b in datasets):
                datasets.append((split, built))
    root = Path(cfg.get('data_root') or '.').resolve()
    names = list(datasets[0][1].metainfo['classes'])
    if cfg.default_scope == 'mmdet':
        files = [_coco_file(split, built, root) for split, built in datasets]
        report = check_coco(files, names, _input_scale(cfg))
        _compare_anchors(report, cfg)
        checked = Checked(report, root, files, [], None)
    else:
        every = [pair for split, built in datasets for pair in _mask_pairs(split, built, root)]
        pairs = [pair for pair, inside in every if inside]
        labels = _labels(cfg, datasets[0][1], names)
        checked = Checked(check_masks(pairs, labels), root, None, pairs, labels)
        for pair in (pair for pair, inside in every if not inside):
            checked.report.add(ERROR, LEADS_OUT, f'{pair.image} or {pair.mask}')
    for path, count in _head_classes(cfg.model, 'model'):
        if count != len(names):
            checked.report.add(ERROR, f'num_classes unlike the {len(names)} classes of the data', f'{path}={count}')
    return checked


def _coco_file(split: str, built, root: Path) -> CocoFile:
    content = coco_files.read_json(Path(built.ann_file))
    coco_files.check_entries(Path(built.ann_file), content)
    prefix = Path(built.data_prefix.get('img') or '')
    item = CocoFile(Path(built.ann_file), split, content)
    names = {name for image in content['images'] if isinstance(name := image.get('file_name'), str)}
    for name in names:
        if is_file(prefix / name):
            if _is_in(prefix / name, (prefix, root)):
                item.images[name] = prefix / name
            else:
                item.outside.add(name)
    return item


def _mask_pairs(split: str, built, root: Path) -> list[tuple[MaskPair, bool]]:
    """The pairs, each with whether it lies in the folders that the config names."""
    folders = [root, *(Path(built.data_prefix.get(key) or '') for key in ('img_path', 'seg_map_path'))]
    files = [(Path(info['img_path']), Path(info['seg_map_path'])) for info in built.load_data_list()]
    return [(MaskPair(image, mask, split), _is_in(image, folders) and _is_in(mask, folders)) for image, mask in files]


def _is_in(path: Path, folders: Iterable[Path]) -> bool:
    return any(is_inside(path, folder) for folder in folders)


def _labels(cfg: Config, built, names: list[str]) -> Labels:
    palette = [list(color) for color in built.metainfo['palette']]
    reader = next(
        (t for t in leaves(cfg.train_dataloader.dataset)[0].pipeline if t.type == 'LoadColorAnnotations'), None
    )
    if reader is not None:
        colors = [list(color) for color in reader.palette]
        return Labels(names, [mask_files.pack(color) for color in colors], palette, plain=False, colors=colors)
    first = int(built.reduce_zero_label)
    return Labels(names, list(range(first, len(names) + first)), palette, plain=True, reduce_zero=bool(first))


def _head_classes(node, path: str):
    """The place and value of every ``num_classes`` of a model's config but that of region proposals."""
    if isinstance(node, (list, tuple)):
        for number, item in enumerate(node):
            yield from _head_classes(item, f'{path}.{number}')
    elif isinstance(node, dict):
        if 'num_classes' in node:
            yield f'{path}.num_classes', node['num_classes']
        for key, value in node.items():
            if key != 'rpn_head':
                yield from _head_classes(value, f'{path}.{key}')


def _input_scale(cfg: Config | None) -> tuple[float, float] | None:
    """The two sides that the training pipeline of a config resizes images to fit into."""
    pipeline = leaves(cfg.train_dataloader.dataset)[0].pipeline if cfg is not None else []
    resize = next((t for t in pipeline if t.type in ('Resize', 'RandomResize', 'RandomChoiceResize')), {})
    scale = resize.get('scale') or (resize.get('scales') or [None])[0]
    return scale if scale and isinstance(scale[0], (int, float)) else None


def _compare_anchors(report: Report, cfg: Config | None) -> None:
    model = cfg.model if cfg is not None else {}
    head = model.get('rpn_head') or model.get('bbox_head') or {}
    anchors = head.get('anchor_generator') or {}
    if 'strides' not in anchors:
        return
    scales = anchors.get('scales')
    if scales is None:
        steps = anchors['scales_per_octave']
        scales = [anchors['octave_base_scale'] * 2 ** (i / steps) for i in range(steps)]
    report.anchor_sizes = sorted(float(stride * scale) for stride in anchors['strides'] for scale in scales)
    small = sum(size < report.anchor_sizes[0] / 2 for size in report.box_sizes)
    large = sum(size > report.anchor_sizes[-1] * 2 for size in report.box_sizes)
    for count, what, limit in ((small, 'under half the smallest', 0), (large, 'over twice the largest', -1)):
        if count > 0.1 * len(report.box_sizes):
            advice = f'{count} of {len(report.box_sizes)}; change scales of the anchor_generator or the scale of Resize'
            report.add(WARNING, f'boxes {what} anchor ({report.anchor_sizes[limit]:g} px)', advice)
