"""What is checked before a run."""

import pytest

from mmlska.engine.checks import check_data
from mmlska.engine.config import load_config


def test_the_variable_names_the_folder_above(scenes, monkeypatch):
    monkeypatch.setenv('MMLSKA_DATA', str(scenes.parent))
    check_data(load_config('configs/demo/upernet_van_lska_t_scenes.py'), ('train', 'val', 'test'))


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
@pytest.mark.parametrize('name', ['retinanet_van_lska_t', 'upernet_van_lska_t'])
def test_missing_data_is_named_with_the_way_to_get_it(name, split, tmp_path):
    cfg = load_config(f'configs/{name}.py', {'data_root': f'{tmp_path}/none/'})
    with pytest.raises(FileNotFoundError) as caught:
        check_data(cfg, (split,))
    message = str(caught.value)
    assert message.startswith(f'{split} data not found: {tmp_path}/none/')
    assert cfg.data_help in message
    assert 'data_root=DIR' in message
    assert 'MMLSKA_DATA' in message
    assert '\n' not in message


def test_missing_data_of_wrapped_datasets(tmp_path):
    cfg = load_config('configs/demo/upernet_van_lska_t_dubai.py', {'data_root': str(tmp_path)})
    with pytest.raises(FileNotFoundError, match=f'train data not found: {tmp_path}/Tile_1/images does not exist'):
        check_data(cfg, ('train',))
