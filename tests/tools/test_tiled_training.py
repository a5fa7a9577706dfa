"""train --tile, and every command that its config goes into: test, predict, report, export."""

import json
import re
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

sys.path.insert(0, str(Path(__file__).parent))
from test_train_test import MASK_RCNN, ROOT, SMALL, UPERNET, ok, run  # noqa: E402

from mmlska.datasets.scenes import write_scenes  # noqa: E402

RETINANET = 'configs/demo/retinanet_van_lska_t_scenes.py'
ALL_BOXES = SMALL[MASK_RCNN].replace('model = dict(', 'model = dict(test_cfg=dict(score_thr=0.0), ')
KINDS = {
    'boxes': (RETINANET, ALL_BOXES),
    'masks': (MASK_RCNN, SMALL[MASK_RCNN]),
    'pixels': (UPERNET, SMALL[UPERNET]),
}


@pytest.fixture(scope='module')
def large(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('large') / 'set'
    write_scenes(root, num_train=4, num_val=2, size=160)
    return root


def config(folder: Path, kind: str) -> str:
    base, small = KINDS[kind]
    text = f'_base_ = {str(ROOT / base)!r}\n{small}\ntrain_dataloader = dict(batch_size=4)\n'
    (folder / 'small.py').write_text(text)
    return 'small.py'


def numbers(output: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r'(coco/\w+_mAP_50|mIoU): ([\d.]+)', output)}


@pytest.mark.slow(60)
@pytest.mark.parametrize('kind', KINDS)
def test_from_training_to_the_export(kind, large, tmp_path):
    options = ['--data', large, '--tile', '96', '--overlap', '24', '--epochs', '1', '--work-dir', 'work', '--verbose']
    trained = ok(run('train.py', config(tmp_path, kind), *options, cwd=tmp_path))
    assert 'tiles: 16 tiles of 96 pixels from 4 training images' in trained
    assert 'neighbours share 24 pixels; results are those of whole images' in trained
    assert '4 iterations, 1 pass over the images' in trained
    assert (tmp_path / 'work/report.html').is_file()
    report = (tmp_path / 'work/report.html').read_text()
    made = {
        name: report.split(f'<section id="{name}">')[1].split('</section>')[0] for name in ('labels', 'predictions')
    }
    assert not [name for name, body in made.items() if 'Not made' in body or 'class="missing"' in body]
    assert 'training: 4 images, ' in made['labels']
    checkpoint = Path((tmp_path / 'work/last_checkpoint').read_text().strip()).name
    model = ['work/small.py', f'work/{checkpoint}']
    left = Config.fromfile(tmp_path / 'work/small.py')
    assert (left.test_cfg.tile, left.test_cfg.overlap) == (96, 24)

    tested = ok(run('test.py', *model, '--show-dir', 'show', '--verbose', cwd=tmp_path))
    assert numbers(tested), tested[-2000:]
    assert len(list((tmp_path / 'show').glob('*.png'))) == 2
    if kind == 'boxes':  # a folder that is trained on by the config that the training left keeps its tiles
        again = ok(run('train.py', model[0], '--data', large, '--epochs', '1', '--work-dir', 'again', cwd=tmp_path))
        assert 'tiles: 16 tiles of 96 pixels' in again
    whole = ok(run('test.py', *model, '--tile', '0', '--verbose', cwd=tmp_path))
    assert numbers(whole)

    options = ['--config', model[0], '--checkpoint', model[1], '--score-thr', '0', '--no-overlays', '--format', 'json']
    photo = large / 'images/validation/000000.png'
    found = {}
    for name, tile in (('default', []), ('whole', ['--tile', '0'])):
        ok(run('predict.py', photo, *options, *tile, '--out', name, cwd=tmp_path))
        found[name] = json.loads((tmp_path / name / '000000.json').read_text())
    assert found['default'] != found['whole']
    if kind == 'pixels':  # boxes of a detector after four steps have scores too close to compare
        ok(run('export.py', *model, '--out', 'model.onnx', cwd=tmp_path))
        of_file = ok(run('test.py', model[0], '--onnx', 'model.onnx', '--verbose', cwd=tmp_path))
        assert numbers(of_file) == pytest.approx(numbers(whole), abs=0.02)


def test_a_config_with_its_own_data_is_tiled_too(large, tmp_path):
    name = config(tmp_path, 'boxes')
    options = ['--cfg-options', f'data_root={large}/', '--tile', '96', '--epochs', '1', '--no-report']
    trained = ok(run('train.py', name, *options, '--work-dir', 'work', cwd=tmp_path))
    assert 'tiles: 16 tiles of 96 pixels from 4 training images' in trained
    assert '1 pass over the images' in trained


@pytest.mark.parametrize(
    ('options', 'why'),
    [
        (['--tile', '8'], '--tile and --overlap: tile=8 must be at least 32 pixels, or 0 for whole images'),
        (
            ['--tile', '0', '--overlap', '20'],
            '--overlap 20 is that of tiles; give --tile N too, or leave --overlap out',
        ),
        (['--overlap', '20'], '--overlap 20 is that of tiles; give --tile N too, or leave --overlap out'),
        (['--tile', '96', '--overlap', '90'], 'overlap=90 must be 0 to 32, a third of tile=96'),
    ],
)
def test_impossible_tiles_are_refused_before_anything_is_written(large, tmp_path, options, why):
    result = run('train.py', config(tmp_path, 'boxes'), '--data', large, *options, '--work-dir', 'work', cwd=tmp_path)
    assert result.returncode == 2
    assert why in result.stderr.strip().splitlines()[-1]
    assert not (tmp_path / 'work/data').exists()
