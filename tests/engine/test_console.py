"""What a person sees of a run."""

import logging
import os
import pty
import re
import subprocess
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger, print_log

from mmlska.engine import console
from mmlska.engine.console import ConsoleHook, calm, changed_settings, data_line
from mmlska.log import log

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def logger(tmp_path):
    """A logger of MMEngine that writes to a file too, as that of a run."""
    return MMLogger.get_instance(uuid.uuid4().hex, logger_name='mmengine', log_file=str(tmp_path / 'run.log'))


def test_the_console_has_warnings_and_mmlskas_own_lines_and_the_file_has_all(logger, tmp_path, capsys):
    calm(logger)
    calm(logger)  # a second time changes nothing
    print_log('the whole config', logger='current')
    log('252/252 tensors loaded')
    for _ in range(2):
        print_log('no GPU', logger='current', level=logging.WARNING)
    print_log('The draw is False, it means ...', logger='current', level=logging.WARNING)
    unlike = 'The model and loaded state dict do not match exactly'
    print_log(f'{unlike}\n\nsize mismatch for a.weight: ...\n', logger='current', level=logging.WARNING)
    assert capsys.readouterr().out == (
        f'252/252 tensors loaded\nwarning: no GPU\nwarning: {unlike}; the log file names the tensors\n'
    )
    written = (tmp_path / 'run.log').read_text()
    assert [line in written for line in ('the whole config', '252/252', 'WARNING - no GPU', 'The draw is')] == [
        True
    ] * 4


@pytest.mark.parametrize('tables', [False, True])
def test_a_test_shows_the_tables_of_evaluators(tables, logger, capsys):
    calm(logger, tables=tables)
    print_log('\n+-------+-----+\n| class | IoU |\n+-------+-----+', logger='current')
    assert ('| class | IoU |' in capsys.readouterr().out) == tables


@pytest.fixture
def recipe(tmp_path):
    file = tmp_path / 'recipe.py'
    file.write_text(
        "model = dict(type='A', depth=2)\nparam_scheduler = [dict(type='LinearLR', end=50), dict(type='CosineAnnealingLR', end=6)]\n"
        "train_dataloader = dict(batch_size=2, dataset=dict(ann_file='a.json'))\nwork_dir = 'a'\n"
    )
    return Config.fromfile(file)


def test_settings_that_differ_are_told_by_their_keys(recipe):
    assert changed_settings(recipe) == []
    recipe.merge_from_dict(
        {
            'model.depth': 3,
            'param_scheduler.1.end': 3,
            'model.frozen': True,
            'randomness': dict(seed=0, deterministic=False),
        }
    )
    recipe.merge_from_dict({'work_dir': 'b', 'train_dataloader.dataset.ann_file': 'b.json'})
    assert changed_settings(recipe) == [
        'setting: model.depth=3 (recipe: 2)',
        'setting: model.frozen=True (recipe: not set)',
        'setting: param_scheduler.1.end=3 (recipe: 6)',
        'setting: randomness.seed=0 (recipe: not set)',
    ]


def test_a_setting_that_is_gone_and_the_number_of_the_rest(recipe):
    del recipe.model.depth
    assert changed_settings(recipe) == ['setting: model.depth left out (recipe: 2)']
    recipe.model.update({f'option_{i}': i + 1 for i in range(12)})
    lines = changed_settings(recipe)
    assert len(lines) == 11
    assert lines[-1] == 'and 3 more settings; the log file has the config'


def test_a_config_without_a_file_has_no_recipe():
    assert changed_settings(Config(dict(model=dict(type='A')))) == []


def test_the_data_are_one_line():
    class Dataset(list):
        metainfo = dict(classes=[f'c{i}' for i in range(8)])

    def loader(*folders):
        parts = [dict(type='D', data_root=folder) for folder in folders]
        return dict(dataset=dict(type='ConcatDataset', datasets=parts))

    runner = SimpleNamespace(
        train_dataloader=SimpleNamespace(dataset=Dataset([0] * 30)),
        val_dataloader=SimpleNamespace(dataset=Dataset([0])),
        cfg=Config(dict(train_dataloader=loader('sets/a/', 'sets/b/'), val_dataloader=loader('sets/a/'))),
    )
    assert data_line(runner, ('train', 'val')) == (
        'data: 30 images to train on, 1 image to validate on, 8 classes (c0, c1, c2, c3, c4, c5, ...), in sets/a/ and sets/b/'
    )

    train = runner.cfg.train_dataloader
    train.dataset = dict(type='TiledDataset', dataset=dict(train.dataset))
    runner.cfg.val_cfg = dict(type='TiledValLoop', tile=640, overlap=80)
    assert data_line(runner, ('train', 'val')).startswith(
        'data: 30 tiles to train on, 1 image to validate on in tiles of 640 pixels that share 80, 8 classes'
    )


@pytest.fixture
def runner():
    """As much of a runner as the hook asks for, with the message hub that MMEngine fills."""
    hub = MessageHub.get_instance(uuid.uuid4().hex)
    for name, value in (('train/loss', 1.5), ('train/lr', 1e-3), ('train/time', 0.5)):
        hub.update_scalar(name, value)
    hub.update_info('eta', 3725)
    return SimpleNamespace(iter=0, epoch=0, max_iters=100, max_epochs=4, message_hub=hub, train_loop=None)


def test_without_a_terminal_a_tenth_of_the_run_is_a_line(runner, monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(console.time, 'monotonic', lambda: clock[0])
    hook = ConsoleHook()
    hook.before_train(runner)
    for iteration in range(100):
        runner.iter = iteration
        clock[0] += 5  # 500 s in all
        hook.after_train_iter(runner, iteration, dict(inputs=[0] * 8))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[0] == 'epoch 1/4  10/100  loss 1.5  lr 0.001  16 images/s  1:02:05 left'


def test_validations_are_rows_of_one_table(runner, capsys):
    hook = ConsoleHook()
    for runner.epoch, ap in ((1, 0.1), (2, 0.724)):
        hook.after_val_epoch(runner, {'coco/bbox_mAP': ap, 'coco/bbox_mAP_s': -1, 'coco/segm_mAP': 0.05})
    hook.after_val_epoch(runner, {})
    assert capsys.readouterr().out.splitlines() == [
        '  epoch   box AP  mask AP',
        '      1       10        5',
        '      2     72.4        5',
    ]


SCRIPT = """
import sys, time
from types import SimpleNamespace
from mmengine.logging import MessageHub
from mmlska.engine.console import ConsoleHook
hub = MessageHub.get_instance('x')
hub.update_scalar('train/time', 0.1)
runner = SimpleNamespace(iter=0, epoch=0, max_iters=3, max_epochs=1, message_hub=hub, train_loop=None)
hook = ConsoleHook()
hook.before_train(runner)
for runner.iter in range(3):
    hook.after_train_iter(runner, runner.iter, dict(inputs=[0]))
    print('creating index...')
    print('said at', runner.iter)
hook.after_val_epoch(runner, {'mIoU': 43.87})
hook.after_train(runner)
print('after')
"""


def test_on_a_terminal_lines_stand_above_the_bar(tmp_path):
    shown, terminal = pty.openpty()
    environment = dict(os.environ, TERM='xterm', COLUMNS='100', PYTHONPATH=str(ROOT))
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT], stdout=terminal, stderr=subprocess.PIPE, env=environment, timeout=120
    )
    os.close(terminal)
    assert done.returncode == 0, done.stderr.decode()
    output = b''
    while True:
        try:
            output += os.read(shown, 65536)
        except OSError:  # all is read
            break
    os.close(shown)
    text = re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]', '', output.decode())
    lines = [line.rpartition('\r')[2].strip() for line in text.replace('\r\n', '\n').split('\n')]
    told = [line for line in lines if line and '━' not in line]
    assert told == ['said at 0', 'said at 1', 'said at 2', 'epoch     mIoU', '0    43.87', 'after']
    assert re.search('epoch 1/1 ━+ 3/3', text)
    assert output.decode().endswith('after\r\n')
