"""Bad configs, checkpoints, data sets and images for test_bad_inputs.py, and what prepares them."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import torch
from evil_files import Reduced
from safetensors.torch import save_file

from mmlska.engine.config import load_config
from mmlska.infer.model import build_model

ROOT = Path(__file__).resolve().parents[2]
SEG = 'configs/demo/upernet_van_lska_t_scenes.py'
JSON = 'data/scenes/annotations/instances_training.json'
IMAGES = 'data/scenes/images/training'
MASKS = 'data/scenes/annotations/training'


def edit(change):
    """A preparation that changes the training annotations."""

    def prepare(folder: Path) -> None:
        content = json.loads((folder / JSON).read_text())
        change(content)
        (folder / JSON).write_text(json.dumps(content))

    return prepare


def write(name, content):
    """A preparation that writes a file."""

    def prepare(folder: Path) -> None:
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(data)

    return prepare


def remove(name):
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def picture(name, array):
    return lambda folder: cv2.imwrite(str(folder / name), array)


def saved(name, content):
    return lambda folder: torch.save(content, folder / name)


def base(text):
    return write('own.py', f'_base_ = {str(ROOT / SEG)!r}\n{text}\n')


def untrained(folder, bias=0.0):
    model = build_model(load_config(str(folder / 'tiny.py')), seed=0)
    model.decode_head.conv_seg.bias.data[0] = bias
    torch.save(dict(state_dict=model.state_dict()), folder / 'w.pth')


def diverged(folder):
    untrained(folder, torch.nan)


EMPTY = np.zeros((96, 96), np.uint8)
#: name: preparation in a folder with a copy of the scenes, command line, what the line of the error says
FILES = {
    # configs
    'config: missing': (
        None,
        'train configs/none.py',
        r'config configs/none.py does not exist; see the folder configs',
    ),
    'config: syntax': (write('own.py', 'a = (\n'), 'train own.py', r'own.py is not valid Python: line 1'),
    'config: no python': (write('own.txt', 'a'), 'train own.txt', r'config own.txt is no .py, .json or .yml file'),
    'config: name error': (
        write('own.py', 'a = b\n'),
        'train own.py',
        r"own.py cannot be read: .*name 'b' is not defined",
    ),
    'config: no such base': (
        write('own.py', "_base_ = 'none.py'\n"),
        'train own.py',
        r'own.py cannot be read: .*none.py',
    ),
    'config: no model': (write('own.py', 'a = 1\n'), 'train own.py', r'own.py has no model.*_base_'),
    'config: kernel': (
        base('model = dict(backbone=dict(k_size=24))'),
        'train own.py',
        r'k_size=24 cannot be split .* 23, 29',
    ),
    'config: arch': (
        base("model = dict(backbone=dict(arch='xl'))"),
        'train own.py',
        r"arch='xl' is unknown; choose one of 't'",
    ),
    'config: misspelt option': (
        base('model = dict(backbone=dict(k_sise=7))'),
        'train own.py',
        r'VAN_LSKA takes no k_sise; did you mean k_size[?]',
    ),
    'config: unknown type': (
        base("model = dict(decode_head=dict(type='UperHead'))"),
        'train own.py',
        r"model.decode_head.type='UperHead' is not known; did you mean UPerHead[?]",
    ),
    'config: unknown transform': (
        base("train_dataloader = dict(dataset=dict(pipeline=[dict(type='Loadimage')]))"),
        'train own.py',
        r'Loadimage is not in the .*registry',
    ),
    'config: no base batch': (
        base('auto_scale_lr = dict(_delete_=True)'),
        'train own.py --auto-scale-lr',
        r'--auto-scale-lr needs auto_scale_lr.base_batch_size in the config; set it',
    ),
    'config: no tta': (
        lambda folder: (base('tta_model = None')(folder), saved('w.pth', dict(state_dict={}))(folder)),
        'test own.py w.pth --tta',
        r'--tta needs tta_model and tta_pipeline in the config; see',
    ),
    # checkpoints
    'checkpoint: missing': (None, 'test tiny.py none.pth', r'checkpoint none.pth does not exist'),
    'checkpoint: empty': (write('w.pth', ''), 'test tiny.py w.pth', r'w.pth is empty; copy or download it again'),
    'checkpoint: a web page': (
        write('w.pth', '<!DOCTYPE html>'),
        'test tiny.py w.pth',
        r'is a web page, not a checkpoint; use',
    ),
    'checkpoint: truncated': (
        write('w.pth', b'PK\x03\x04abc'),
        'test tiny.py w.pth',
        r'truncated or damaged.*download it again',
    ),
    'checkpoint: runs code': (
        saved('w.pth', dict(a=Reduced(print, 'code of a checkpoint ran'))),
        'test tiny.py w.pth',
        r'might run code, so it was not read',
    ),
    'checkpoint: an LFS pointer': (
        write('w.pth', 'version https://git-lfs.github.com/spec/v1\n'),
        'test tiny.py w.pth',
        r'is a Git LFS pointer.*run git lfs pull',
    ),
    'checkpoint: safetensors cut': (
        lambda folder: (
            save_file(dict(a=torch.rand(100)), folder / 'w.safetensors'),
            (folder / 'w.safetensors').write_bytes((folder / 'w.safetensors').read_bytes()[:200]),
        ),
        'test tiny.py w.safetensors',
        r'w.safetensors is truncated or damaged',
    ),
    'checkpoint: truncated and trusted': (
        write('w.pth', b'PK\x03\x04abc'),
        'test tiny.py w.pth --trust-checkpoint',
        r'truncated or damaged.*download it again',
    ),
    'checkpoint: a list': (
        saved('w.pth', [torch.rand(3)]),
        'test tiny.py w.pth',
        r'w.pth holds a list, no names with tensors; give a checkpoint',
    ),
    'checkpoint: a list inside': (
        saved('w.pth', dict(state_dict=[torch.rand(3)])),
        'test tiny.py w.pth',
        r'w.pth holds a list, no names with tensors; give a checkpoint',
    ),
    'checkpoint: numbers for names': (
        saved('w.pth', {1: torch.rand(3)}),
        'test tiny.py w.pth',
        r'w.pth has 1 where names of tensors should be; give a checkpoint',
    ),
    'checkpoint: missing in init_cfg': (
        base("model = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='typo.pth')))"),
        'train own.py',
        r'no checkpoint file typo.pth; check the path',
    ),
    'checkpoint: misspelt option of init_cfg': (
        base("model = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='typo.pth', stric=False)))"),
        'train own.py',
        r"init_cfg of type Pretrained has .*'stric'.*; it takes checkpoint",
    ),
    'checkpoint: missing in load_from': (
        None,
        'train tiny.py --cfg-options load_from=typo.pth',
        r'no checkpoint file typo.pth; check the path',
    ),
    'checkpoint: not finite': (
        diverged,
        'test tiny.py w.pth',
        r'w.pth holds NaN or infinity in decode_head.conv_seg.bias; the training diverged',
    ),
    'checkpoint: not finite in load_from': (
        diverged,
        'train tiny.py --cfg-options load_from=w.pth',
        r'w.pth holds NaN or infinity in decode_head.conv_seg.bias; the training diverged',
    ),
    'checkpoint: of another network': (
        saved('w.pth', dict(state_dict={'fc.weight': torch.rand(3, 3)})),
        'test tiny.py w.pth',
        r'w.pth has no tensor of this model.*give a checkpoint of this config',
    ),
    'checkpoint: weights to resume': (
        saved('w.pth', dict(state_dict={})),
        'train tiny.py --resume w.pth',
        r'w.pth cannot be resumed: it holds weights without the state of a training; --resume alone',
    ),
    # datasets
    'data: missing root': (
        None,
        'train tiny.py --cfg-options data_root=none/',
        r'mmlska make-scenes none;.*data_root=DIR',
    ),
    'data: no masks': (remove(MASKS), 'train tiny.py', r'train data not found: \S*annotations/training does not exist'),
    'data: no annotations': (remove(JSON), 'train det.py', r'instances_training.json does not exist'),
    'data: broken json': (
        write(JSON, '{"images": ['),
        'train det.py',
        r'instances_training.json is not valid JSON: line 1',
    ),
    'data: no COCO json': (write(JSON, '{"a": 1}'), 'train det.py', r'instances_training.json has no "categories"'),
    'data: other classes': (
        edit(lambda c: [x.update(name=x['name'].upper()) for x in c['categories']]),
        'train det.py',
        r'instances_training.json has the classes CIRCLE, .* none of which the config knows .circle, .*set metainfo',
    ),
    'data: no annotated image': (
        edit(lambda c: c.update(annotations=[])),
        'train det.py',
        r'train data: .*instances_training.json has no sample with labels; check',
    ),
    'data: empty folder': (
        lambda folder: [p.unlink() for p in (folder / IMAGES).iterdir()],
        'train tiny.py',
        r'train data: .*images/training.* has no sample with labels; check',
    ),
    'data: label too large': (
        lambda folder: [cv2.imwrite(str(p), EMPTY + 77) for p in (folder / MASKS).iterdir()],
        'train tiny.py',
        r'cannot be used .*it has the label 76, there are 6 classes.*a setting is probably wrong',
    ),
    'data: image no object': (
        edit(lambda c: c.update(images=['a.jpg'])),
        'train det.py --data data/scenes',
        r'entry 0 of "images" in \S*instances_training.json is \'a.jpg\': it must be an object',
    ),
    'data: annotation no object': (
        edit(lambda c: c.update(annotations=[1])),
        'check_dataset data/scenes',
        r'entry 0 of "annotations" in \S*instances_training.json is 1: it must be an object',
    ),
    'data: json without images': (
        edit(lambda c: c.pop('images')),
        'check_dataset det.py',
        r'instances_training.json has no list "images"; write it as a COCO file has it',
    ),
    # images
    'image: empty': (
        write(f'{IMAGES}/000001.png', ''),
        'train tiny.py',
        r'000001.png.* cannot be used .*--skip-bad-images N',
    ),
    'image: text': (
        write(f'{IMAGES}/000001.png', 'text'),
        'train tiny.py',
        r'000001.png.* cannot be used .*--skip-bad-images N',
    ),
    'image: gone': (
        remove(f'{IMAGES}/000001.png'),
        'train det.py',
        r'000001.png.* cannot be used .*--skip-bad-images N',
    ),
    'image: mask gone': (
        remove(f'{MASKS}/000001.png'),
        'train tiny.py',
        r'000001.png.* cannot be used .*--skip-bad-images N',
    ),
    'image: mask of another size': (
        picture(f'{MASKS}/000001.png', np.ones((50, 60), np.uint8)),
        'train tiny.py',
        r'000001.png.* cannot be used .*50x60.*96x96',
    ),
}
