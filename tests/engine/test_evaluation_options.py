"""What the options of a test change in a config."""

import os
from pathlib import Path

import pytest
from mmengine.config import Config

from mmlska.engine.config import load_config
from mmlska.engine.evaluation_options import use_overlays, use_predictions, use_tta


def test_predictions_by_the_kind_of_file(tmp_path):
    cfg = load_config('configs/mask_rcnn_van_lska_t.py')
    use_predictions(cfg, str(tmp_path / 'new/out.json'))
    assert cfg.test_evaluator[0].outfile_prefix == str(tmp_path / 'new/out')
    use_predictions(cfg, str(tmp_path / 'out.pkl'))
    assert cfg.test_evaluator[-1] == dict(type='DumpDetResults', out_file_path=str(tmp_path / 'out.pkl'))
    with pytest.raises(ValueError, match='--out out.txt is not possible with this model; give a .pkl or a .json file'):
        use_predictions(cfg, 'out.txt')
    cfg = load_config('configs/fpn_van_lska_t.py')
    use_predictions(cfg, str(tmp_path / 'masks'))
    assert cfg.test_evaluator[0].output_dir == str(tmp_path / 'masks')
    with pytest.raises(
        ValueError, match='--out out.json is not possible with this model; give a .pkl file or a folder'
    ):
        use_predictions(cfg, 'out.json')


@pytest.mark.parametrize(
    ('config', 'name', 'why'),
    [
        ('mask_rcnn', 'a' * 300 + '.json', 'File name too long'),
        ('mask_rcnn', 'a' * 250 + '.json', 'File name too long'),  # with .bbox before the end
        ('mask_rcnn', 'a' * 300 + '.pkl', 'File name too long'),
        ('mask_rcnn', 'file/out.json', 'File exists'),
        ('mask_rcnn', 'folder.pkl', 'Is a directory'),
        ('fpn', 'a' * 300, 'File name too long'),
        ('fpn', 'file', 'File exists'),
    ],
)
def test_predictions_that_cannot_be_written_are_refused_before_the_test(config, name, why, tmp_path):
    (tmp_path / 'file').write_text('kept')
    (tmp_path / 'folder.pkl').mkdir()
    with pytest.raises(ValueError, match=f'^--out .* cannot be written: {why}; name another path$'):
        use_predictions(load_config(f'configs/{config}_van_lska_t.py'), str(tmp_path / name))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['file', 'folder.pkl']
    assert (tmp_path / 'file').read_text() == 'kept'


def test_links_and_pipes_stay_as_they_are(tmp_path):
    cfg = load_config('configs/mask_rcnn_van_lska_t.py')
    (tmp_path / 'link.pkl').symlink_to('nowhere')
    os.mkfifo(tmp_path / 'pipe.pkl')
    for name in ('link.pkl', 'pipe.pkl'):
        use_predictions(cfg, str(tmp_path / name))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['link.pkl', 'pipe.pkl']


def test_time_augmentation_needs_its_pipeline():
    cfg = load_config('configs/mask_rcnn_van_lska_t.py')
    assert use_tta(cfg).type == 'DetTTAModel'
    assert cfg.test_dataloader.dataset.pipeline[-1].type == 'TestTimeAug'
    assert cfg.model.roi_head.mask_head is None
    cfg.pop('tta_model')
    with pytest.raises(ValueError, match='--tta needs tta_model and tta_pipeline in the config'):
        use_tta(cfg)


def test_overlays_keep_other_hooks(tmp_path):
    cfg = Config(dict(custom_hooks=[dict(type='EMAHook')]))
    use_overlays(cfg, str(tmp_path))
    assert [hook['type'] for hook in cfg.custom_hooks] == ['EMAHook', 'OverlayHook']
    assert cfg.custom_hooks[1]['out_dir'] == str(Path(tmp_path))
