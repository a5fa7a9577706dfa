"""Means over corruptions, pipelines, subsets and files of results."""

import json

import pytest
from mmengine.config import Config

from mmlska.analysis.robustness import (
    choose_corruptions,
    main_metrics,
    read_reference,
    summarise,
    use_subset,
    with_corruption,
)
from mmlska.datasets.corruption import ALL_CORRUPTIONS, STANDARD_CORRUPTIONS


def results(clean, **values):
    """Results of one metric: each corruption's value at severities 1 and 2."""
    metric = 'coco/bbox_mAP'
    found = {name: {'1': {metric: pair[0]}, '2': {metric: pair[1]}} for name, pair in values.items()}
    return {'clean': {'0': {metric: clean}}, **found}


def test_means_by_hand():
    own = results(0.5, fog=(0.4, 0.2), snow=(0.1, 0.0), saturate=(0.0, 0.0))
    other = results(0.6, fog=(0.5, 0.5), snow=(0.6, 0.4), saturate=(0.9, 0.9))
    entry = summarise(own, ['fog', 'snow', 'saturate'], [1, 2], other)['coco/bbox_mAP']
    assert entry['corruptions'] == pytest.approx({'fog': 0.3, 'snow': 0.05, 'saturate': 0.0})
    assert entry['mPC'] == pytest.approx(0.175)  # saturate is no standard corruption
    assert entry['rPC'] == pytest.approx(0.35)
    assert entry['mCE'] == pytest.approx(((0.6 + 0.8) / (0.5 + 0.5) + (0.9 + 1.0) / (0.4 + 0.6)) / 2)
    assert summarise(own, ['saturate'], [1, 2])['coco/bbox_mAP']['mPC'] is None


def test_mean_iou_is_in_per_cent():
    own = {'clean': {'0': {'mIoU': 80.0}}, 'fog': {'1': {'mIoU': 40.0}}}
    other = {'clean': {'0': {'mIoU': 80.0}}, 'fog': {'1': {'mIoU': 20.0}}}
    assert summarise(own, ['fog'], [1], other)['mIoU']['mCE'] == pytest.approx(60 / 80)


def test_nothing_detected_is_an_ap_of_zero():
    own = results(0.5, fog=(0.4, 0.2))
    own['fog']['2'] = {}
    assert summarise(own, ['fog'], [1, 2])['coco/bbox_mAP']['mPC'] == pytest.approx(0.2)
    with pytest.raises(ValueError, match='the clean images gave no mAP or mIoU'):
        main_metrics({'clean': {'0': {}}})


def test_box_and_mask_metrics_are_summarised_and_no_others():
    clean = {'coco/bbox_mAP': 0.1, 'coco/segm_mAP': 0.2, 'coco/bbox_mAP_50': 0.3, 'aAcc': 0.4}
    assert main_metrics({'clean': {'0': clean}}) == ['coco/bbox_mAP', 'coco/segm_mAP']


def test_groups_and_names():
    assert choose_corruptions(['all']) == ALL_CORRUPTIONS
    assert choose_corruptions(['standard']) == STANDARD_CORRUPTIONS
    assert len(STANDARD_CORRUPTIONS) == 15
    assert choose_corruptions(['extra', 'fog'])[0] == 'fog'
    with pytest.raises(ValueError, match="corruption 'rain' is unknown; choose from the groups noise"):
        choose_corruptions(['rain'])


def test_corruption_follows_the_loading_of_the_image():
    pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize'), dict(type='LoadAnnotations')]
    assert [step['type'] for step in with_corruption(pipeline, 'fog', 2, 0)] == [
        *('LoadImageFromFile', 'CorruptImage', 'Resize', 'LoadAnnotations')
    ]
    assert len(pipeline) == 3
    prefixed = with_corruption([dict(type='mmdet.LoadImageFromFile')], 'fog', 2, 0)
    assert prefixed[1] == dict(type='CorruptImage', corruption='fog', severity=2, seed=0)
    with pytest.raises(ValueError, match='no step that loads an image'):
        with_corruption([dict(type='Resize')], 'fog', 2, 0)


def test_subset_of_coco_data_has_annotations_of_its_own(scenes, tmp_path):
    pytest.importorskip('mmdet')
    annotations = scenes / 'annotations/instances_training.json'
    dataset = dict(
        type='CocoDataset',
        data_root=f'{scenes}/',
        ann_file='annotations/instances_training.json',
        data_prefix=dict(img='images/training/'),
        metainfo=dict(classes=('circle', 'square', 'triangle', 'star', 'ring')),
        test_mode=True,
        pipeline=[],
    )
    cfg = Config(
        dict(
            default_scope='mmdet',
            test_dataloader=dict(dataset=dataset),
            test_evaluator=dict(type='CocoMetric', ann_file=str(annotations)),
        )
    )
    use_subset(cfg, 2, seed=0, work_dir=tmp_path)
    kept = json.loads((tmp_path / 'subset_2_seed_0.json').read_text())
    whole = json.loads(annotations.read_text())
    assert cfg.test_evaluator.ann_file == str(tmp_path / 'subset_2_seed_0.json')
    assert len(kept['images']) == len(cfg.test_dataloader.dataset.indices) == 2
    ids = {image['id'] for image in kept['images']}
    assert kept['annotations'] == [a for a in whole['annotations'] if a['image_id'] in ids]
    assert kept['categories'] == whole['categories']
    with pytest.raises(ValueError, match='--subset 0 leaves no image'):
        use_subset(cfg, 0, seed=0, work_dir=tmp_path)
    cfg.test_dataloader.dataset = dict(type='UnreadDataset', dataset=dataset)  # as for tiles
    use_subset(cfg, 1, seed=0, work_dir=tmp_path)
    assert len(cfg.test_dataloader.dataset.dataset.indices) == 1
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[dataset])
    with pytest.raises(ValueError, match='this one is a ConcatDataset'):
        use_subset(cfg, 2, seed=0, work_dir=tmp_path)


def test_references_must_fit(tmp_path):
    path, facts = tmp_path / 'r.json', dict(data_sha256='d', seed=0, subset=4, package='p')
    own = {'identity': facts, 'results': {}}
    with pytest.raises(FileNotFoundError, match='reference .* does not exist'):
        read_reference(path, own)
    path.write_text(json.dumps({'identity': dict(facts, data_sha256='e', subset=5), 'results': {}}))
    with pytest.raises(ValueError, match='made with another data_sha256, subset; test it again'):
        read_reference(path, own)
    with pytest.raises(ValueError, match='the reference lacks fog at severity 2'):
        summarise(
            results(0.5, fog=(0.4, 0.2)), ['fog'], [1, 2], {'clean': {'0': {'coco/bbox_mAP': 1}}, 'fog': {'1': {}}}
        )
    with pytest.raises(ValueError, match='the reference has no coco/bbox_mAP; take a model of the same task'):
        summarise(results(0.5, fog=(0.4, 0.2)), ['fog'], [1], {'clean': {'0': {'mIoU': 1}}})
