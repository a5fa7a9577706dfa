"""The blocks of docs/other_projects.md that say 'tested' are built here, where their project is installed."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

PAGE = Path(__file__).resolve().parents[1] / 'docs/other_projects.md'
BLOCKS = re.findall(r'```python\n# (\w+), (tested|not tested): (.*)\n((?:.*\n)+?)```', PAGE.read_text(encoding='utf-8'))


def test_the_page_names_every_project():
    states = {project: state for project, state, _, _ in BLOCKS}
    assert states == {
        'mmdet': 'tested',
        'mmseg': 'tested',
        'mmpretrain': 'tested',
        'mmpose': 'not tested',
        'mmrotate': 'not tested',
        'mmyolo': 'not tested',
        'mmdet3d': 'not tested',
    }
    assert len(BLOCKS) == PAGE.read_text(encoding='utf-8').count('```python\n') - 1  # all but custom_imports


@pytest.mark.parametrize(('project', 'state', 'what', 'code'), BLOCKS, ids=[f'{b[0]}-{b[2][:20]}' for b in BLOCKS])
def test_block(project, state, what, code):
    config = {}
    exec(code, config)
    parts = config['model']
    backbone = dict(parts.get('backbone', {}))
    if state == 'not tested' or not find_spec(project):
        # The project is not here, but the backbone is: its channels are those that the neck or head is given.
        net = MODELS.build({k: v for k, v in backbone.items() if k != '_delete_'}) if '_delete_' in backbone else None
        if net:
            receiver = parts.get('neck') or parts.get('decode_head') or parts['head']
            dims = [net.embed_dims[i] for i in net.out_indices]
            assert receiver['in_channels'] in (dims, dims[-1])
        pytest.skip(f'{project} is not installed')
    init_default_scope(project)
    x = torch.rand(2, 3, 64, 64)
    maps = None
    if backbone:
        backbone.pop('_delete_', None)
        if backbone.get('norm_cfg'):
            backbone['norm_cfg'] = dict(type='BN')  # SyncBN needs several GPUs
        maps = MODELS.build(backbone)(x)
    if 'neck' in parts:
        neck = parts['neck']
        first = neck[0] if isinstance(neck, list) else neck
        maps = maps or [torch.rand(1, c, s, s) for c, s in zip(first['in_channels'], (16, 8, 4, 2))]
        assert len(MODELS.build(neck)(maps)) == 5
    if 'decode_head' in parts:
        assert MODELS.build(parts['decode_head'])(maps).shape == (2, 19, 16, 16)
    if 'head' in parts:
        assert MODELS.build(parts['head'])([m.mean((2, 3)) for m in maps]).shape == (2, 1000)
