"""Images of five bands in 16 bits, and of one channel, through every command: check, train, test, predict in tiles, export."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_train_test import MASK_RCNN, ROOT, SMALL, UPERNET, ok, run  # noqa: E402

from mmlska.datasets.scenes import write_scenes  # noqa: E402

RETINANET = 'configs/demo/retinanet_van_lska_t_scenes.py'
# Those of an untrained detector have low scores.
ALL_BOXES = SMALL[MASK_RCNN].replace('model = dict(', 'model = dict(test_cfg=dict(score_thr=0.0), ')
SETS = {
    'detector of five bands': (RETINANET, ALL_BOXES, 5, '5 channels of 16 bits', ['--bands', '5', '2', '1']),
    'segmentor of one': (UPERNET, SMALL[UPERNET], 1, '1 channel of 16 bits', []),
}


@pytest.mark.slow(60)
@pytest.mark.parametrize('name', SETS)
def test_from_the_check_to_the_export(name, tmp_path):
    base, small, bands, pixels, shown = SETS[name]
    write_scenes(tmp_path / 'set', num_train=6, num_val=3, size=96, num_classes=3, bands=bands)
    config = f'_base_ = {str(ROOT / base)!r}\n{small}\ntrain_dataloader = dict(batch_size=2)\n'
    (tmp_path / 'small.py').write_text(config)
    check = ok(run('check_dataset.py', 'set', '--sheet', 'sheet.png', '--json', 'check.json', *shown, cwd=tmp_path))
    assert f'pixels: {pixels}: 9' in check
    assert json.loads((tmp_path / 'check.json').read_text())['pixels'] == {pixels: 9}
    trained = ok(
        run('train.py', 'small.py', '--data', 'set', '--epochs', '1', '--work-dir', 'work', *shown, cwd=tmp_path)
    )
    assert f'pixels: {pixels}; normalised by the mean [' in trained
    assert f'in_channels={bands}' in trained
    assert (tmp_path / 'work/report.html').is_file()
    checkpoint = (tmp_path / 'work/last_checkpoint').read_text().strip()
    model = ['work/small.py', str(Path('work', Path(checkpoint).name))]
    tested = ok(run('test.py', *model, '--show-dir', 'show', cwd=tmp_path))
    options = ['--config', model[0], '--checkpoint', model[1], '--score-thr', '0']
    ok(
        run(
            'predict.py',
            'set/images/validation',
            *options,
            '--tile',
            '64',
            '--out',
            'tiles',
            '--format',
            'json',
            *shown,
            cwd=tmp_path,
        )
    )
    assert len(list((tmp_path / 'tiles').glob('*.json'))) == len(list((tmp_path / 'tiles/overlays').iterdir())) == 3
    overlay = cv2.imread(str(next((tmp_path / 'tiles/overlays').iterdir())))
    assert overlay.shape == (96, 96, 3)
    exported = ok(run('export.py', *model, '--out', 'model.onnx', cwd=tmp_path))
    assert f'made into {bands} channel' in exported
    of_file = ok(run('test.py', model[0], '--onnx', 'model.onnx', cwd=tmp_path))
    assert metrics(of_file) == pytest.approx(metrics(tested), abs=0.02)
    wrong = run('predict.py', 'photo.png', *options, '--out', 'other', cwd=photo_in(tmp_path))
    last = wrong.stderr.strip().splitlines()[-1]
    assert wrong.returncode == 2
    assert f'photo.png has 3 channels of 8 bits, and the model reads {pixels}; give images of that kind' in last
    assert 'Traceback' not in wrong.stderr


def metrics(output: str) -> list[float]:
    """The numbers in the line of metrics that a test ends with."""
    line = next(line for line in output.splitlines() if line.startswith(('coco/', 'aAcc')))
    return [float(word) for word in line.replace('  ', ' ').split() if word.replace('.', '').replace('-', '').isdigit()]


def photo_in(folder: Path) -> Path:
    cv2.imwrite(str(folder / 'photo.png'), np.full((50, 60, 3), 90, np.uint8))
    return folder
