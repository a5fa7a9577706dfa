"""What the options of a test change in a config."""

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
