"""A broken image is named or skipped, and samples carry their seeds."""

import pickle
import re
import shutil
from pathlib import Path

import pytest
from small_run import ROOT, message_of, runner_of, write_config

from mmlska.engine.config import load_config
from mmlska.engine.samples import Draw, GuardedDataset


def break_image(scenes: Path, folder: Path, name: str) -> Path:
    """Copy the scenes and cut one training image in half."""
    shutil.copytree(scenes, folder / 'scenes')
    image = folder / 'scenes/images/training' / name
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 3] if name.endswith('0.png') else b'')
    return image


@pytest.mark.parametrize('workers', [0, 1])
def test_a_broken_image_is_named_or_skipped(workers, scenes, tmp_path):
    image = break_image(scenes, tmp_path, '000001.png')
    config = write_config(tmp_path / 'scenes', tmp_path)
    options = {'train_dataloader.num_workers': workers}
    message = message_of(runner_of(config, tmp_path / 'work', options))
    assert message.startswith(str(image))
    assert re.search(
        r'cannot be used \(.*; the run stops: correct or remove the file, or give --skip-bad-images N', message
    )
    runner = runner_of(config, tmp_path / 'again', options, skip_bad_images=1)
    runner.train()
    assert runner.iter == 6
    if not workers:
        log = next((tmp_path / 'again').glob('*/*.log')).read_text()
        assert log.count(f'{image} or ') == 1  # six steps meet it three times
        assert 'continuing without it, 1 of at most 1' in log


def test_more_broken_images_than_allowed(scenes, tmp_path):
    for name in ('000001.png', '000002.png'):
        if name == '000001.png':
            break_image(scenes, tmp_path, name)
        else:
            (tmp_path / 'scenes/images/training' / name).write_bytes(b'no image')
    config = write_config(tmp_path / 'scenes', tmp_path)
    message = message_of(runner_of(config, tmp_path / 'work', skip_bad_images=1))
    assert '2 such files, --skip-bad-images 1' in message


def test_broken_images_of_a_detector(scenes, tmp_path):
    from mmdet.utils import register_all_modules

    image = break_image(scenes, tmp_path, '000001.png')
    register_all_modules()
    cfg = load_config(
        str(ROOT / 'configs/demo/mask_rcnn_van_lska_t_scenes.py'), {'data_root': str(tmp_path / 'scenes')}
    )
    data = GuardedDataset(cfg.train_dataloader.dataset, skip_bad=1)
    assert data.metainfo['classes'][0] == 'circle'
    replaced, following = data[Draw(1, 5)], data[Draw(2, 5)]
    assert replaced['data_samples'].img_path == following['data_samples'].img_path != str(image)
    data.skip_bad = 0
    with pytest.raises(ValueError, match=rf'{image} cannot be used'):
        data[Draw(1, 5)]


def test_all_tiles_of_a_broken_image_are_one_bad_file(scenes, tmp_path):
    from mmdet.utils import register_all_modules

    image = break_image(scenes, tmp_path, '000001.png')
    register_all_modules()
    cfg = load_config(
        str(ROOT / 'configs/demo/mask_rcnn_van_lska_t_scenes.py'), {'data_root': str(tmp_path / 'scenes')}
    )
    tiles = dict(type='TiledDataset', dataset=cfg.train_dataloader.dataset, tile=48, overlap=8)
    data = GuardedDataset(dict(type='RepeatDataset', times=2, dataset=tiles), skip_bad=1)
    found = [data[Draw(i, 5)]['data_samples'].img_path for i in range(len(data))]
    assert str(image) not in found
    assert len({data.file_of(i) for i in range(len(data))}) == 4
    assert len(set(found)) == 3


def test_draws_are_indices_that_carry_a_seed():
    draw = pickle.loads(pickle.dumps(Draw(3, seed=9)))
    assert (draw, draw.seed, [5, 6, 7, 8][draw]) == (3, 9, 8)
