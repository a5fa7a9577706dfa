"""The examples of docs/python.md run, one after the other, where there is a folder of labelled pets."""

import logging
import re
from pathlib import Path

import own_sets
import pytest
from tiny_models import TINY_MASK_RCNN

from mmlska.api import Result

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r'(?s)```python\n(.*?)```', (ROOT / 'docs/python.md').read_text(encoding='utf-8'))
#: A recipe in the place of the page's, so small that it trains in seconds.
SMALL = f'{TINY_MASK_RCNN}model.update(test_cfg=dict(rcnn=dict(max_per_img=5)))\n'


@pytest.mark.slow(90)
def test_the_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        logging, 'raiseExceptions', False
    )  # loggers of earlier runs in this process have closed streams
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    own_sets.simple(tmp_path / 'pets')
    (tmp_path / 'small.py').write_text(SMALL)
    names = {}
    assert len(BLOCKS) == 4
    for block in BLOCKS:
        exec(block.replace("'mask_rcnn_van_lska_t'", "'small.py'"), names)
    model = names['model']
    assert model.checkpoint.parent == tmp_path / 'work_dirs/small_pets_2'
    assert model.test() == names['metrics']
    assert (tmp_path / 'drawn.png').is_file()
    assert (tmp_path / 'pets/images/0.json').is_file()
    assert 'Result(pets/images/3.png, 80x60' in capsys.readouterr().out


def test_every_method_in_its_table_exists():
    table = re.search(r'(?s)\| of a result.*?(?=\n\n)', (ROOT / 'docs/python.md').read_text(encoding='utf-8'))[0]
    named = re.findall(r'`(\w+)', ''.join(row.split('|')[1] for row in table.splitlines()))
    assert len(named) > 10
    assert [name for name in named if not hasattr(Result, name)] == []
