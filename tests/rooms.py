"""The rooms of the package: what each holds, which others it may import, and which packages it may name.

A room imports rooms above it in the table alone, so nothing climbs and nothing goes round; tests/test_boundaries.py computes that from the
code. CONTRIBUTING's table is written from this one: `python tests/rooms.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

CONTRIBUTING = Path(__file__).resolve().parents[1] / 'CONTRIBUTING.md'


class Room(NamedTuple):
    """One row: a folder or file of ``mmlska``."""

    holds: str
    imports: tuple[str, ...]  # other rooms
    packages: tuple[str, ...]  # from outside, beside Python's own


ROOMS: dict[str, Room] = {
    'text': Room('names from data in messages', (), ()),
    'version': Room('the version', (), ()),
    'files': Room('writing files whole; paths that stay inside a folder', (), ()),
    'outputs': Room('files that tools may write: their own, never inputs', ('files', 'text'), ()),
    'threads': Room('threads of a tool, and how they wait: set before torch is loaded', (), ()),
    'command_line': Room('how this process was started, for messages and records', (), ()),
    'catalog': Room('the configs that come with the package: names, files, counted costs', (), ()),
    'metric_names': Room('what metrics are called in tables, and what makes them percent', (), ()),
    'chatter': Room('what other packages print at the console that a person does not need', (), ()),
    'environment': Room('what is installed, and what to install', (), ('mmengine', 'torch')),
    'log': Room("one line to MMEngine's log, or to Python's where there is none", ('environment',), ('mmengine',)),
    'designs': Room('the attention designs and archs: names, parameters, kernel ladder, cost', (), ()),
    'colors': Room('colours of classes, and packed ones', (), ('numpy',)),
    'image_headers': Room('size and format of a picture from its first bytes', (), ()),
    'images': Room('the one reader of pictures; suffixes, sizes', ('image_headers', 'text'), ('PIL', 'cv2', 'numpy')),
    'tiff_windows': Room(
        'TIFF files of any channels and bits, by window', ('image_headers', 'images', 'text'), ('numpy', 'tifffile')
    ),
    'bands': Room(
        'images of any channels and bits: what a file holds, reading it, a picture of it',
        ('images', 'text', 'tiff_windows'),
        ('cv2', 'numpy'),
    ),
    'image_windows': Room('images that are used in parts: large TIFF files by window', ('bands', 'images'), ('numpy',)),
    'tiles': Room('where the tiles of a large image lie, and how their results become one', (), ('numpy',)),
    'cost': Room('parameters, multiply-adds, memory and time of any module', (), ('torch',)),
    'results': Room(
        'results files with their provenance, tables, figures, sections of pages', ('files',), ('matplotlib', 'torch')
    ),
    'native': Room('the C++ kernels: what loads them, what their sources share', (), ()),
    'ops': Room('the fused operators: front doors, reference, one folder a backend', ('native',), ('torch', 'triton')),
    'mmcv_ops': Room(
        "stand-ins for mmcv's compiled operators, where mmcv has none",
        ('environment', 'native'),
        ('torch', 'torchvision'),
    ),
    'torchvision_cpu': Room(
        'what makes torchvision importable beside a torch of the CPU', ('mmcv_ops',), ('torch', 'torchvision')
    ),
    'weights': Room(
        'layouts of checkpoints, reading, converting, loading, the manifest',
        ('designs', 'environment', 'files', 'log', 'outputs', 'text'),
        ('mmengine', 'numpy', 'safetensors', 'torch', 'yaml'),
    ),
    'models': Room(
        'attention blocks and the backbone in plain torch; openmmlab.py is their face for MMEngine',
        ('designs', 'environment', 'log', 'ops', 'weights'),
        ('mmengine', 'torch'),
    ),
    'datasets': Room(
        'generated scenes, corruptions, transforms, labels of COCO files, data sets of tiles',
        ('bands', 'colors', 'files', 'image_windows', 'images', 'text', 'tiles'),
        ('cv2', 'imagecorruptions', 'mmengine', 'numpy', 'pycocotools', 'tifffile', 'torch'),
    ),
    'engine': Room(
        'training and testing: configs, checks before a run, options, resuming, recovery',
        (
            *(
                'bands',
                'catalog',
                'chatter',
                'command_line',
                'cost',
                'datasets',
                'files',
                'image_windows',
                'images',
                'log',
                'metric_names',
                'outputs',
            ),
            *('mmcv_ops', 'models', 'text', 'tiles', 'weights'),
        ),
        ('cv2', 'mmcv', 'mmengine', 'numpy', 'pycocotools', 'rich', 'torch', 'yaml', 'yapf'),
    ),
    'classification': Room(
        'classifiers, pretraining, ImageNet robustness',
        ('datasets', 'engine', 'files', 'images', 'models', 'results', 'torchvision_cpu', 'weights'),
        ('cv2', 'mmengine', 'mmpretrain', 'numpy', 'torch', 'yaml'),
    ),
    'mmpretrain_classifier': Room('an old name, for configs of earlier versions', ('classification',), ()),
    'infer': Room(
        'predictions of images, and their files and overlays',
        (
            'bands',
            'colors',
            'datasets',
            'engine',
            'files',
            'image_windows',
            'images',
            'models',
            'outputs',
            'text',
            'tiles',
            'weights',
        ),
        ('PIL', 'cv2', 'mmengine', 'numpy', 'pycocotools', 'torch'),
    ),
    'own_data': Room(
        "a user's folder: sources and writers (one file a label format), check, split, repair, convert, adapt a config",
        (
            'bands',
            'colors',
            'datasets',
            'engine',
            'files',
            'image_windows',
            'images',
            'infer',
            'outputs',
            'text',
            'tiles',
        ),
        ('PIL', 'cv2', 'mmengine', 'numpy', 'pycocotools', 'yaml'),
    ),
    'analysis': Room(
        'cost, receptive field, robustness, shape bias, errors: functions that return data, and their figures',
        (
            *(
                'bands',
                'colors',
                'cost',
                'datasets',
                'designs',
                'engine',
                'files',
                'images',
                'infer',
                'models',
                'results',
                'text',
            ),
            *('torchvision_cpu', 'weights'),
        ),
        ('cv2', 'matplotlib', 'mmdet', 'mmengine', 'mmseg', 'numpy', 'torch'),
    ),
    'report': Room(
        'report.html of a training: what the run keeps for it, its sections, its page',
        (
            *(
                'analysis',
                'bands',
                'command_line',
                'datasets',
                'engine',
                'files',
                'images',
                'metric_names',
                'results',
                'text',
            ),
        ),
        ('cv2', 'matplotlib', 'mmengine', 'numpy', 'torch'),
    ),
    'export': Room(
        'files for other runtimes, their parity and their metrics',
        (
            'bands',
            'datasets',
            'engine',
            'files',
            'images',
            'infer',
            'log',
            'metric_names',
            'models',
            'results',
            'version',
        ),
        ('cv2', 'mmdet', 'mmengine', 'numpy', 'onnx', 'onnxruntime', 'tifffile', 'torch'),
    ),
    'api': Room(
        'a model as one object: `mmlska.load`, its results and what they can be made into',
        ('bands', 'chatter', 'engine', 'environment', 'export', 'infer', 'outputs', 'own_data', 'report', 'weights'),
        ('IPython', 'PIL', 'mmengine', 'numpy', 'pycocotools', 'supervision', 'torch'),
    ),
    'yolo': Room(
        'the blocks in Ultralytics YOLO',
        (
            'cost',
            'datasets',
            'designs',
            'engine',
            'files',
            'models',
            'own_data',
            'results',
            'text',
            'torchvision_cpu',
            'weights',
        ),
        ('torch', 'ultralytics', 'yaml'),
    ),
    'benchmark': Room(
        'speed beside the published code and other engines',
        (
            'cost',
            'designs',
            'engine',
            'environment',
            'export',
            'mmcv_ops',
            'models',
            'ops',
            'outputs',
            'results',
            'threads',
        ),
        ('mmengine', 'onnxruntime', 'torch'),
    ),
    'app': Room(
        'the page in the browser',
        ('analysis', 'engine', 'files', 'images', 'infer'),
        ('cv2', 'gradio', 'numpy', 'python_multipart', 'starlette', 'torch'),
    ),
    'cli': Room(
        'what all commands share',
        ('command_line', 'engine', 'environment', 'files', 'own_data', 'text', 'weights'),
        ('mmengine',),
    ),
    'commands': Room(
        'the commands of `mmlska`, which are the tools too: parse, call a function of the package, print',
        (
            'analysis',
            'app',
            'benchmark',
            'catalog',
            'classification',
            'cli',
            'command_line',
            'datasets',
            'designs',
            'engine',
            'export',
            'files',
            'images',
            'infer',
            'outputs',
            'own_data',
            'report',
            'results',
            'text',
            'weights',
            'yolo',
        ),
        ('mmlska_command',),
    ),
}


def table() -> str:
    """The rooms as CONTRIBUTING shows them."""
    lines = ['| room of `mmlska` | holds | may import | and of other packages |', '| --- | --- | --- | --- |']
    for name, room in ROOMS.items():
        inner, outer = (', '.join(names) or 'nothing' for names in (room.imports, room.packages))
        lines.append(f'| `{name}` | {room.holds} | {inner} | {outer} |')
    return '\n'.join(lines)


if __name__ == '__main__':
    from mmlska.results import fill_section

    fill_section(CONTRIBUTING, 'rooms', table())
