"""tools/train.py and tools/test.py as a user runs them."""

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / 'tools'
MASK_RCNN = 'configs/demo/mask_rcnn_van_lska_t_scenes.py'
UPERNET = 'configs/demo/upernet_van_lska_t_scenes.py'
ARCH = 'dict(_delete_=True, embed_dims=[8] * 4, depths=[1] * 4, ffn_ratios=[2] * 4)'
SMALL = {
    MASK_RCNN: f"""
model = dict(backbone=dict(arch={ARCH}), neck=dict(in_channels=[8] * 4))
train_cfg = dict(max_epochs=1, val_interval=1)
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=2))
""",
    UPERNET: f"""
model = dict(
    data_preprocessor=dict(size=(96, 96)),
    backbone=dict(arch={ARCH}),
    decode_head=dict(in_channels=[8] * 4),
    auxiliary_head=dict(in_channels=8),
)
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2))
auto_scale_lr = dict(base_batch_size=8)
""",
}


def small(config: str, scenes: Path, folder: Path) -> str:
    """Write the config of a very small model on the small scenes into a folder; return its name there."""
    loader = 'dict(batch_size={}, dataset=dict(data_root=data_root))'
    lines = [
        f'_base_ = {str(ROOT / config)!r}',
        f'data_root = {f"{scenes}/"!r}',
        f'train_dataloader = {loader.format(2)}',
        f'val_dataloader = test_dataloader = {loader.format(1)}',
        SMALL[config],
    ]
    if config == MASK_RCNN:
        lines.append(
            "val_evaluator = test_evaluator = dict(ann_file=data_root + 'annotations/instances_validation.json')"
        )
    (folder / 'small.py').write_text('\n'.join(lines))
    return 'small.py'


def run(tool: str, *args, cwd: Path, **variables: str) -> subprocess.CompletedProcess:
    """Run a tool from another folder than the repository."""
    command = ['bash' if tool.endswith('.sh') else sys.executable, str(TOOLS / tool), *map(str, args)]
    # torchrun of this Python, and a port that a training of somebody else on this machine does not use
    path = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    environment = dict(os.environ, OMP_NUM_THREADS='1', **{'PATH': path, 'MASTER_PORT': '29567', **variables})
    environment.pop('MMLSKA_DATA', None)
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


def ok(result: subprocess.CompletedProcess) -> str:
    output = result.stdout + result.stderr
    assert result.returncode == 0, output[-3000:]
    return output


@pytest.fixture(scope='module')
def detector(scenes, tmp_path_factory):
    """A folder in which one epoch of a small Mask R-CNN was trained where no program is found, and what that printed."""
    cwd = tmp_path_factory.mktemp('detector')
    done = run('train.py', small(MASK_RCNN, scenes, cwd), '--work-dir', 'work', '--seed', 0, cwd=cwd, PATH='')
    ok(done)
    # MMEngine asks a compiler for its version. Without a compiler there is also the warning that mmlska.ops are slower.
    assert all(line.startswith('warning: mmlska.ops runs in plain PyTorch') for line in done.stderr.splitlines()), (
        done.stderr
    )
    return cwd, done.stdout


@pytest.fixture(scope='module')
def segmentor(scenes, tmp_path_factory):
    """A folder in which two iterations of a small UperNet were trained, and what that printed."""
    cwd = tmp_path_factory.mktemp('segmentor')
    output = ok(run('train.py', small(UPERNET, scenes, cwd), '--work-dir', 'work', '--dtype', 'bf16', cwd=cwd))
    return cwd, output


@pytest.mark.slow
def test_detector_trains_and_validates_from_another_folder(detector):
    cwd, output = detector
    assert (cwd / 'work/epoch_1.pth').is_file()
    assert (cwd / 'work/last_checkpoint').read_text().endswith('epoch_1.pth')
    assert [line.split(':')[0] for line in output.splitlines()[-2:]] == ['checkpoints and logs', 'report']
    (log,) = (cwd / 'work').glob('*/*.log')
    assert 'coco/segm_mAP_50' in log.read_text()


@pytest.mark.slow
def test_a_training_says_what_a_person_needs_and_its_log_the_rest(detector):
    cwd, output = detector
    lines = output.splitlines()
    assert lines.pop(0).startswith(
        'warning: the warm-up (param_scheduler.0) takes 50 iterations and the training has 2'
    )
    assert len(lines) < 20, output
    names = 'circle, square, triangle, star, ring'
    assert re.fullmatch(
        rf'data: \d+ images to train on, \d+ images to validate on, 5 classes \({names}\), in \S+', lines[0]
    )
    assert 'setting: randomness.seed=0 (recipe: not set)' in lines
    header, row = lines[-4:-2]
    assert re.split(' {2,}', header)[-4:] == ['box AP', 'box AP50', 'mask AP', 'mask AP50']
    assert [float(cell) >= 0 for cell in row.split()] == [True] * 5
    (log,) = (cwd / 'work').glob('*/*.log')
    for text in ('System environment', 'norm_cfg', lines[0], 'Epoch(train)'):
        assert text in log.read_text()
        assert (text in output) == (text == lines[0])


@pytest.mark.slow
def test_detector_leaves_a_report_that_can_be_written_again(detector):
    cwd, output = detector
    assert f'report: {cwd / "work/report.html"}' in output
    page = cwd / 'work/report.html'
    text = page.read_text(encoding='utf-8')
    assert 'Not made' not in text
    assert f'python {TOOLS / "train.py"} small.py --work-dir work --seed 0 --resume' in text
    evaluate = re.search(r'>(python \S+test\.py \S+/work/small\.py \S+/work/best_\S+\.pth)<', text)[1]
    kept = np.load(cwd / 'work/report/validation.npz')
    assert (kept['truth_0'] >= 0).any()  # masks
    page.unlink()
    assert 'open in a browser: work/report.html' in ok(run('report.py', 'work', cwd=cwd))
    again = page.read_text(encoding='utf-8')
    words = re.search(r'>(python \S+test\.py \S+ [^<\s]+)<', again)[1].split()[2:]
    assert [str(cwd / word) for word in words] == evaluate.split()[2:]
    assert 'coco/bbox_mAP_50' in ok(run('test.py', *evaluate.split()[2:], '--work-dir', 'pasted', cwd=cwd))


@pytest.mark.slow
def test_no_report(detector, tmp_path):
    cwd, _ = detector
    output = ok(run('train.py', 'small.py', '--work-dir', tmp_path / 'work', '--no-report', cwd=cwd))
    assert 'report.html' not in output
    assert not list((tmp_path / 'work').glob('report*'))


@pytest.mark.slow
def test_detector_resumes_where_it_stopped(detector):
    cwd, _ = detector
    more = ['--cfg-options', 'train_cfg.max_epochs=2', 'default_hooks.logger.interval=1']
    output = ok(
        run('train.py', 'small.py', '--work-dir', 'work', '--resume', '--no-report', '--verbose', *more, cwd=cwd)
    )
    assert 'resumed epoch: 1' in output
    assert re.search(r'Epoch\(train\) +\[2\]', output)
    assert not re.search(r'Epoch\(train\) +\[1\]', output)
    assert (cwd / 'work/epoch_2.pth').is_file()


@pytest.mark.slow
def test_detector_tests_with_pictures_and_coco_results(detector):
    cwd, _ = detector
    shown = ['--show-dir', 'pictures', '--out', 'pred/scenes.json']
    all_boxes = ['--cfg-options', 'model.test_cfg.rcnn.score_thr=0.0']
    output = ok(run('test.py', 'small.py', 'work/epoch_1.pth', '--work-dir', 'test', *shown, *all_boxes, cwd=cwd))
    assert 'coco/segm_mAP' in output
    pictures = sorted((cwd / 'pictures').glob('*.png'))
    assert [p.stem for p in pictures] == ['000000', '000001']
    height, width = cv2.imread(str(pictures[0])).shape[:2]
    assert (height, width) == (96, 192)  # labels left, predictions right
    results = json.loads((cwd / 'pred/scenes.bbox.json').read_text())
    assert results
    assert {r['category_id'] for r in results} <= {1, 2, 3, 4, 5}


@pytest.mark.slow
def test_detector_tta_merges_boxes(detector):
    cwd, _ = detector
    output = ok(run('test.py', 'small.py', 'work/epoch_1.pth', '--work-dir', 'tta', '--tta', cwd=cwd))
    assert '--tta merges boxes only' in output
    assert 'coco/bbox_mAP' in output
    assert 'coco/segm_mAP' not in output


@pytest.mark.slow
def test_a_test_leaves_the_config_of_the_training_as_it_is(detector):
    cwd, _ = detector
    config = cwd / 'work/small.py'
    before = config.read_bytes()
    ok(run('test.py', 'work/small.py', 'work/epoch_1.pth', '--tta', cwd=cwd))
    assert config.read_bytes() == before
    (tested,) = (cwd / 'work').glob('*/small.py')  # beside its log
    assert Config.fromfile(tested).load_from.endswith('epoch_1.pth')


@pytest.mark.slow
def test_detector_trains_in_bf16_and_tests_folded(detector, scenes, tmp_path):
    cwd, _ = detector
    ok(run('train.py', 'small.py', '--work-dir', tmp_path / 'bf16', '--dtype', 'bf16', cwd=cwd))
    assert (tmp_path / 'bf16/epoch_1.pth').is_file()
    plain, folded, low = (
        ok(
            run(
                'test.py',
                'small.py',
                'work/epoch_1.pth',
                '--work-dir',
                tmp_path / 'test',
                '--verbose',
                '--out',
                out,
                *flags,
                cwd=cwd,
            )
        )
        for out, flags in (
            (tmp_path / 'plain.pkl', []),
            (tmp_path / 'folded.pkl', ['--deploy']),
            (tmp_path / 'low.pkl', ['--deploy', '--dtype', 'bf16']),
        )
    )
    assert 'DeployHook' in folded
    assert 'DeployHook' not in plain
    assert 'AutocastHook' in low
    scores = [
        pickle.loads((tmp_path / f'{name}.pkl').read_bytes())[0]['pred_instances']['scores'][:20]
        for name in ('plain', 'folded', 'low')
    ]
    assert len(scores[0]) > 0
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-4)
    np.testing.assert_allclose(scores[2], scores[0], atol=2e-2)
    assert not np.array_equal(scores[2], scores[0])


@pytest.mark.slow
def test_segmentor_trains_in_bf16(segmentor):
    cwd, output = segmentor
    assert (cwd / 'work/iter_2.pth').is_file()
    (log,) = (cwd / 'work').glob('*/*.log')
    assert 'AutocastHook' in log.read_text()
    assert 'mIoU' in output


@pytest.mark.slow
@pytest.mark.parametrize('tta', [False, True])
def test_segmentor_tests_with_pictures_and_index_masks(segmentor, tta):
    cwd, _ = segmentor
    name = f'tta{tta}'
    args = ['--work-dir', name, '--show-dir', f'{name}/pictures', '--out', f'{name}/masks', *(['--tta'] if tta else [])]
    output = ok(run('test.py', 'small.py', 'work/iter_2.pth', *args, cwd=cwd))
    assert 'mIoU' in output
    assert len(list((cwd / name / 'pictures').glob('*.png'))) == 2
    mask = cv2.imread(str(cwd / name / 'masks/000000.png'), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (96, 96)
    assert mask.max() <= 6


@pytest.mark.slow
def test_raw_predictions_as_pickle(segmentor):
    cwd, _ = segmentor
    ok(run('test.py', 'small.py', 'work/iter_2.pth', '--out', 'raw.pkl', cwd=cwd))
    samples = pickle.loads((cwd / 'raw.pkl').read_bytes())
    assert len(samples) == 2
    assert np.asarray(samples[0]['pred_sem_seg']['data']).shape[-2:] == (96, 96)


@pytest.mark.slow
def test_two_processes_and_scaled_learning_rate(scenes, tmp_path):
    config = small(UPERNET, scenes, tmp_path)
    output = ok(run('dist_train.sh', config, 2, '--work-dir', 'work', '--auto-scale-lr', '--verbose', cwd=tmp_path))
    assert 'Distributed launcher: pytorch' in output
    assert 'Scaling the original LR by 0.5' in output  # 2 processes x 2 images over the recipe's 8
    assert (tmp_path / 'work/iter_2.pth').is_file()
    assert output.count(f'report: {tmp_path / "work/report.html"}') == 1
    page = (tmp_path / 'work/report.html').read_text(encoding='utf-8')
    assert '1 of the 2 validation images' in page
    assert 'the same command with --resume' in page


ERRORS = {
    'no such config': (
        ['train.py', 'configs/mask_rcnn_van_lska_x.py'],
        'config configs/mask_rcnn_van_lska_x.py does not exist',
    ),
    'no COCO': (
        ['train.py', 'configs/mask_rcnn_van_lska_t.py'],
        'train data not found: .*annotations/instances_train2017.json does not exist .*https://cocodataset.org.*data_root=DIR',
    ),
    'no ADE20K': (
        ['train.py', 'configs/fpn_van_lska_t.py'],
        'train data not found: .*images/training.*ADEChallengeData2016.zip',
    ),
    'no scenes': (
        ['train.py', UPERNET, '--cfg-options', 'data_root=nowhere/'],
        'make it with: mmlska make-scenes nowhere;',
    ),
    'fp16 without a GPU': (['train.py', UPERNET, '--dtype', 'fp16'], '--dtype fp16 needs a GPU .* use --dtype bf16'),
    'no such checkpoint': (['test.py', UPERNET, 'nothing.pth'], 'checkpoint nothing.pth does not exist'),
    'no checkpoint to resume': (
        ['train.py', UPERNET, '--resume', 'nothing.pth'],
        'checkpoint nothing.pth does not exist',
    ),
    'impossible kernel': (
        ['train.py', UPERNET, '--cfg-options', 'model.backbone.k_size=24'],
        'k_size=24 cannot be split .* 17, 23, 29, 35',
    ),
    'unknown arch': (
        ['train.py', UPERNET, '--cfg-options', 'model.backbone.arch=xl'],
        "arch='xl' is unknown; choose one of 't'",
    ),
}


@pytest.mark.parametrize('case', ERRORS)
def test_a_wrong_setting_gives_one_line(case, scenes, tmp_path, refused):
    (tool, *args), message = ERRORS[case]
    if 'data_root=nowhere/' not in args and UPERNET in args:
        at = args.index('--cfg-options') + 1 if '--cfg-options' in args else len(args)
        args[at:at] = [f'data_root={scenes}/'] if '--cfg-options' in args else ['--cfg-options', f'data_root={scenes}/']
    assert re.search(message, refused(tool, *args, cwd=tmp_path))


def test_a_wrong_setting_ends_a_command_too(tmp_path):
    """As a shell sees it."""
    result = run('train.py', 'nothing.py', cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith('train.py: error: config nothing.py does not exist')


def test_help_needs_no_data(tmp_path):
    assert '--auto-scale-lr' in ok(run('train.py', '--help', cwd=tmp_path))
