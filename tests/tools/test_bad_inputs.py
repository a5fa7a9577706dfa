"""Bad flags, configs, checkpoints, datasets and images: one line that names the problem and the next step, and nothing half-written."""

import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest
from bad_inputs import FILES, IMAGES, ROOT, saved, untrained
from tiny_models import TINY_MASK_RCNN, TINY_UPERNET

#: As FILES of bad_inputs.py.
FLAGS = {
    'flag: unknown amp': (None, 'train tiny.py --dtype fp8', r"--dtype: invalid choice: 'fp8' \(choose from"),
    'flag: fp16 without a GPU': (None, 'train tiny.py --dtype fp16', r'--dtype fp16 needs a GPU .* use --dtype bf16'),
    'flag: momentum': (None, 'train tiny.py --ema 1.5', r'--ema 1.5 is out of range; give a momentum above 0'),
    'flag: no steps': (None, 'train tiny.py --accumulate 0', r'--accumulate 0 is out of range; give 1 or more'),
    'flag: negative norm': (None, 'train tiny.py --clip-grad -1', r'--clip-grad -1.0 is out of range; give a norm'),
    'flag: zero1': (None, 'train tiny.py --zero1', r'--zero1 needs several processes; start with tools/dist_train'),
    'flag: fsdp': (None, 'train tiny.py --fsdp', r'--fsdp needs several processes; start with tools/dist_train'),
    'flag: no wandb': (None, 'train tiny.py --wandb', r'--wandb needs the package wandb; run: pip install wandb'),
    'flag: skip': (None, 'train tiny.py --skip-bad-images -1', r'--skip-bad-images -1 is out of range; give 0 or more'),
    'flag: no such checkpoint to start from': (
        None,
        'train tiny.py --pretrained away.pth',
        r'--pretrained away.pth does not exist; give a file, a URL, mmlska://NAME',
    ),
    'flag: no such weights in the package': (
        None,
        'train tiny.py --pretrained mmlska://van_huge',
        r"no published weights are called 'van_huge'; choose one of",
    ),
    'flag: negative seed': (None, 'train tiny.py --seed -1', r'--seed -1 is out of range; give 0 or more'),
    'flag: launcher alone': (
        None,
        'train tiny.py --launcher pytorch',
        r'--launcher pytorch needs the variables of torchrun .RANK.; start with tools/dist_train.sh',
    ),
    'flag: option without value': (
        None,
        'train tiny.py --cfg-options model.type',
        r'--cfg-options: .*model.type.* KEY=VALUE',
    ),
    'flag: work dir is a file': (
        None,
        'train tiny.py --work-dir tiny.py',
        r'--work-dir tiny.py is a file; name a folder',
    ),
    'flag: work dir that cannot be': (
        None,
        'train tiny.py --work-dir /dev/null/work',
        r'/dev/null/work: Not a directory; correct this path, or name another',
    ),
    'flag: predictions into a file': (
        saved('w.pth', dict(state_dict={})),
        'predict data/scenes/images/training --config tiny.py --checkpoint w.pth --out tiny.py',
        r'--out: tiny.py is a file; name a folder',
    ),
    'flag: a score in percent': (
        untrained,
        f'predict {IMAGES} --config tiny.py --checkpoint w.pth --out out --score-thr 30',
        r'score_thr 30.0 is impossible; use 0 to 1',
    ),
    'flag: a setting misspelt': (
        None,
        'train tiny.py --cfg-options dataroot=data/scenes/',
        r'setting dataroot: the config has no dataroot; did you mean data_root[?]',
    ),
    'flag: nothing to test': (
        None,
        'test tiny.py',
        r'give either a checkpoint, such as \S*epoch_12.pth, or --onnx FILE',
    ),
    'flag: data is the folder of the images': (
        None,
        f'train det.py --data {IMAGES}',
        r'no labels for a detector in \S*training: .*; or are the labels those in \S*scenes[?] then give that folder',
    ),
    'flag: data is the folder of the photos': (
        None,
        f'train tiny.py --data {IMAGES}',
        r'no labels for a segmentor in \S*training: .*; or are the labels those in \S*scenes[?] then give that folder',
    ),
    'flag: show dir is a file': (
        saved('w.pth', dict(state_dict={})),
        'test tiny.py w.pth --show-dir tiny.py',
        r'--show-dir tiny.py is a file; name a folder',
    ),
    'flag: out of no kind': (
        saved('w.pth', dict(state_dict={})),
        'test tiny.py w.pth --out masks.zip',
        r'--out masks.zip is not possible with this model; give a .pkl file or a folder',
    ),
}
CASES = FLAGS | FILES


def files_in(folder: Path) -> set[str]:
    """Files that a run may not leave half-written; logs and dumped configs are whole at any time."""
    return {
        str(p.relative_to(folder))
        for p in folder.rglob('*')
        if p.is_file() and 'work' not in p.relative_to(folder).parts
    }


@pytest.mark.slow
@pytest.mark.parametrize('case', CASES)
def test_one_line_that_names_problem_and_next_step(case, scenes, tmp_path, refused):
    prepare, words, message = CASES[case]
    tool, *args = words.split()
    shutil.copytree(scenes, tmp_path / 'data/scenes')
    detector = f'{TINY_MASK_RCNN}train_dataloader = dict(batch_size=2)\ntrain_cfg = dict(max_epochs=1)\n'
    tiny = f'{TINY_UPERNET}train_cfg = dict(max_iters=2, val_interval=2)\n'
    for name, text in (('tiny.py', tiny), ('det.py', detector)):
        (tmp_path / name).write_text(f'{text}experiment_name = {re.sub(r"[^a-z]", "_", case)!r}\n')
    if prepare:
        prepare(tmp_path)
    if tool in ('train', 'test') and '--work-dir' not in args:
        args += ['--work-dir', 'work']
    before = files_in(tmp_path)
    last = refused(f'{tool}.py', *args, cwd=tmp_path)
    assert re.search(message, last), last
    assert files_in(tmp_path) == before
    assert not [p for p in tmp_path.rglob('*.pth') if 'work' in p.relative_to(tmp_path).parts]


def test_debug_shows_the_traceback(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['train.py', 'none.py', '--debug'])
    with pytest.raises(FileNotFoundError, match='none.py does not exist'):
        runpy.run_path(str(ROOT / 'tools/train.py'), run_name='__main__')
