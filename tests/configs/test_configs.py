"""Every config parses, builds, and takes a training step and a test step on small generated data."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from mmlska.designs import ARCHS
from mmlska.engine.config import replace_sync_bn

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
# Those of classifiers need MMPretrain: tests_extras/classification.
NAMES = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.glob('*.py') if 'imagenet' not in path.name)
DEMOS = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.glob('demo/*.py'))
CLASSES = ('circle', 'square', 'triangle', 'star', 'ring')

# Millions of parameters with 80 (COCO) and 150 (ADE20K) classes, K = 23, for t, s and b.
PARAMETERS = {
    'retinanet': (13.31, 23.47, 36.03),
    'mask_rcnn': (23.81, 33.39, 45.95),
    'fpn': (7.91, 17.49, 30.05),
    'upernet': (32.06, 43.71, 56.27),
}


def read(name: str) -> Config:
    return Config.fromfile(CONFIGS / name)


def shrink(cfg: Config, scenes: Path, work_dir: Path) -> Config:
    """The same model and pipelines on four scenes of 96 px: one iteration, nothing saved."""
    detection = cfg.default_scope == 'mmdet'
    for split, folder in (('train', 'training'), ('val', 'validation'), ('test', 'validation')):
        loader = cfg[f'{split}_dataloader']
        dataset = loader.dataset
        while 'pipeline' not in dataset:
            dataset = dataset['dataset'] if 'dataset' in dataset else dataset['datasets'][0]
        pipeline = [small_step(dict(step)) for step in dataset.pipeline]
        if detection:
            data = dict(
                type='CocoDataset',
                metainfo=dict(classes=CLASSES[: number_of_classes(cfg.model)]),
                ann_file=f'annotations/instances_{folder}.json',
                data_prefix=dict(img=f'images/{folder}/'),
            )
        else:
            data = dict(
                type='BaseSegDataset',
                metainfo=dict(classes=('background', *CLASSES)),
                img_suffix='.png',
                reduce_zero_label=True,
                data_prefix=dict(img_path=f'images/{folder}', seg_map_path=f'annotations/{folder}'),
            )
        loader.dataset = dict(data, data_root=str(scenes), test_mode=split != 'train', pipeline=pipeline)
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        evaluator = cfg.get(f'{split}_evaluator')
        if evaluator and 'ann_file' in evaluator:
            evaluator.ann_file = str(scenes / f'annotations/instances_{folder}.json')
    if not detection:
        cfg.model.data_preprocessor.size = (96, 96)
        for head in ('decode_head', 'auxiliary_head'):
            if head in cfg.model:  # the scenes have one class more than the aerial photos
                cfg.model[head].num_classes = max(cfg.model[head].num_classes, 1 + len(CLASSES))
    cfg.model.backbone.drop_path_rate = 0.0  # or a branch that both images drop stays as it was
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=1, val_begin=2)  # does not validate
    cfg.param_scheduler = None
    cfg.default_hooks.update(checkpoint=None)
    cfg.work_dir = str(work_dir)
    cfg.log_level = 'ERROR'
    replace_sync_bn(cfg)
    return cfg


def number_of_classes(model: dict) -> int:
    """The classes of a detector's box heads, wherever they are."""
    heads = (model.get('roi_head') or model)['bbox_head']
    return (heads[0] if isinstance(heads, list) else heads)['num_classes']


def small_step(step: dict) -> dict:
    if step['type'] == 'LoadColorAnnotations':  # the scenes have index masks
        return dict(type='LoadAnnotations', reduce_zero_label=True)
    if 'scale' in step:
        step['scale'] = (96, 96)
    if 'crop_size' in step:
        step['crop_size'] = (96, 96)
    return step


def test_the_promised_configs_are_there():
    families = ('retinanet', 'mask_rcnn', 'cascade_mask_rcnn', 'upernet', 'fpn')
    assert {f'{family}_van_lska_{arch}.py' for family in families for arch in 'tsb'} <= set(NAMES)


@pytest.mark.parametrize('family', PARAMETERS)
def test_parameter_counts_of_whole_models(family):
    for arch, millions in zip('tsb', PARAMETERS[family]):
        cfg = read(f'{family}_van_lska_{arch}.py')
        init_default_scope(cfg.default_scope)
        count = sum(p.numel() for p in MODELS.build(cfg.model).parameters())
        assert round(count / 1e6, 2) == millions


@pytest.mark.parametrize('name', NAMES)
def test_neck_and_heads_take_the_channels_of_the_arch(name):
    model = read(name).model
    dims = ARCHS[model.backbone.arch]['embed_dims']
    receiver = model.get('neck') or model.decode_head
    assert receiver.in_channels == dims
    assert model.backbone.k_size == 23
    if 'auxiliary_head' in model:
        assert model.auxiliary_head.in_channels == dims[model.auxiliary_head.in_index]


@pytest.mark.parametrize('name', NAMES)
def test_published_recipe(name):
    cfg = read(name)
    optimizer = cfg.optim_wrapper.optimizer
    expected = {'fpn': (1e-4, 1e-4), 'upernet': (6e-5, 0.01)}.get(name.split('_')[0], (1e-4, 0.05))
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', *expected)
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=16)
    assert cfg.train_dataloader.batch_size * 8 == 16
    assert cfg.custom_imports == dict(imports=['mmlska'], allow_failed_imports=False)


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES + DEMOS)
def test_one_training_and_one_test_step(name, scenes, tmp_path):
    cfg = shrink(read(name), scenes, tmp_path)
    runner = Runner.from_cfg(cfg)
    before = {k: v.clone() for k, v in runner.model.backbone.named_parameters()}
    runner.train()
    moved = [k for k, v in runner.model.backbone.named_parameters() if not torch.equal(v, before[k])]
    assert len(moved) == len(before)  # the loss reaches every parameter of the backbone
    runner.model.eval()
    with torch.no_grad():
        samples = runner.model.test_step(next(iter(runner.build_dataloader(cfg.val_dataloader))))
    assert len(samples) == 2
    if cfg.default_scope == 'mmdet':
        assert {'bboxes', 'scores', 'labels'} <= set(samples[0].pred_instances.keys())
        assert ('masks' in samples[0].pred_instances) == ('roi_head' in cfg.model)
    else:
        assert samples[0].pred_sem_seg.data.shape == (1, 96, 96)
