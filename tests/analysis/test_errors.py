"""Kinds of error, what an image costs, and agreement with the metrics of mmdet and mmseg."""

import numpy as np
import pytest
import torch

from mmlska.analysis.errors import (
    average_precision,
    classify_boxes,
    find_errors,
    object_confusion,
)
from mmlska.analysis.overlaps import box_iou
from mmlska.analysis.predictions import BoxImage, MapImage, Predictions

CLASSES = ('circle', 'square', 'star')


def boxes_of(found=(), truths=(), crowd=None, path='a.png') -> BoxImage:
    """An image from (box, label, score) and (box, label)."""
    return BoxImage(
        path,
        np.array([f[0] for f in found], float).reshape(-1, 4),
        np.array([f[1] for f in found], int),
        np.array([f[2] for f in found], float),
        np.array([t[0] for t in truths], float).reshape(-1, 4),
        np.array([t[1] for t in truths], int),
        np.zeros(len(truths), bool) if crowd is None else np.array(crowd),
    )


def detector(*images: BoxImage) -> Predictions:
    return Predictions('detection', CLASSES, ((0, 0, 0),) * 3, list(images), {})


def segmentor(*images: MapImage) -> Predictions:
    return Predictions('segmentation', CLASSES, ((0, 0, 0),) * 3, list(images), {})


def random_images(seed: int, number: int = 8) -> list[BoxImage]:
    """Images in which detections are right, misplaced, of another class, twice or invented."""
    rng = np.random.default_rng(seed)
    images = []
    for i in range(number):
        corners = rng.uniform(0, 80, (rng.integers(0, 6), 2))
        truths = [([*c, *(c + rng.uniform(12, 40, 2))], rng.integers(3)) for c in corners]
        found = []
        for box, label in truths * 3:
            moved = np.array(box) + rng.normal(0, rng.choice([1, 8]), 4)
            moved[2:] = np.maximum(moved[2:], moved[:2] + 2)
            found.append((moved, label if rng.random() < 0.7 else rng.integers(3), rng.random()))
        found += [([90, 90, 99, 99], rng.integers(3), rng.random())]
        found.sort(key=lambda item: -item[2])
        images.append(boxes_of(found, truths, path=f'{i}.png'))
    return images


def test_every_kind_of_error_as_tide_defines_it():
    square = [0, 0, 10, 10]
    cases = {
        'correct': (([0, 0, 10, 9], 0), False),
        'wrong class': ((square, 1), False),
        'badly placed': (([0, 0, 10, 3], 0), False),
        'wrong class, badly placed': (([0, 0, 10, 3], 1), True),
        'background': (([0, 9.2, 10, 19.2], 0), True),
    }
    for kind, ((box, label), missed) in cases.items():
        outcome = classify_boxes(boxes_of([(box, label, 0.9)], [(square, 0)]))
        assert outcome.kinds == [kind]
        assert outcome.missed.tolist() == [missed], kind


def test_duplicate_is_the_lower_scored_one():
    outcome = classify_boxes(boxes_of([([0, 0, 10, 9], 0, 0.9), ([0, 0, 10, 10], 0, 0.8)], [([0, 0, 10, 10], 0)]))
    assert outcome.kinds == ['correct', 'duplicate']


def test_a_box_of_the_wrong_class_beside_a_right_one_is_of_the_wrong_class():
    found = [([0, 0, 10, 10], 0, 0.9), ([0, 0, 10, 10], 1, 0.8)]
    outcome = classify_boxes(boxes_of(found, [([0, 0, 10, 10], 0)]))
    assert outcome.kinds == ['correct', 'wrong class']
    assert not outcome.missed.any()


@pytest.mark.parametrize(
    ('height', 'kind'), [(5, 'correct'), (4.999, 'badly placed'), (1, 'badly placed'), (0.999, 'background')]
)
def test_thresholds_belong_to_the_better_side(height, kind):
    assert classify_boxes(boxes_of([([0, 0, 10, height], 0, 0.9)], [([0, 0, 10, 10], 0)])).kinds == [kind]


def test_a_crowd_is_neither_wanted_nor_wrong():
    found = [([0, 0, 10, 10], 0, 0.9), ([0, 0, 10, 10], 1, 0.8), ([80, 80, 90, 90], 0, 0.7)]
    image = boxes_of(found, [([0, 0, 50, 50], 0)], crowd=[True])
    outcome = classify_boxes(image)
    assert outcome.kinds == ['in a crowd', 'background', 'background']
    assert not outcome.missed.any()
    report = find_errors(detector(image), 0.0)
    assert report['value'] is None
    assert sum(map(sum, report['confusion'])) == 2


def test_low_scores_are_no_errors_and_find_nothing():
    image = boxes_of([([0, 0, 10, 10], 0, 0.2)], [([0, 0, 10, 10], 0)])
    report = find_errors(detector(image), 0.3)
    assert report['counts']['missed'] == 1
    assert report['images'][0]['detections'] == []
    assert report['value'] == 100  # AP50 counts every detection


def test_images_without_objects_or_detections():
    report = find_errors(detector(boxes_of(), boxes_of(truths=[([0, 0, 5, 5], 1)]), boxes_of([([0, 0, 5, 5], 1, 0.9)])))
    assert report['counts'] == dict.fromkeys(report['counts'], 0) | {'missed': 1, 'background': 1}
    assert report['value'] == 0
    assert find_errors(detector())['images'] == []


def test_box_iou_of_empty_and_flat_boxes():
    assert box_iou(np.zeros((0, 4)), np.zeros((2, 4))).shape == (0, 2)
    assert box_iou(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [[0.0]]


def test_confusion_matrix_counts_every_object_and_every_detection_once():
    images = random_images(3)
    confusion = np.array(find_errors(detector(*images), 0.0)['confusion'])
    labels = np.concatenate([image.true_labels for image in images])
    found = np.concatenate([image.labels for image in images])
    assert confusion[:3].sum(1).tolist() == np.bincount(labels, minlength=3).tolist()
    assert confusion[:, :3].sum(0).tolist() == np.bincount(found, minlength=3).tolist()
    assert confusion[3, 3] == 0


def test_confusion_matrix_of_boxes_is_that_of_a_plain_count():
    from pycocotools import mask as coco_mask

    random = np.random.default_rng(0)
    images, expected = [], np.zeros((4, 4), int)
    for _ in range(20):
        corners = random.integers(0, 60, (6, 2))
        truths = np.concatenate([corners, corners + random.integers(15, 40, (6, 2))], 1).astype(float)
        boxes = np.concatenate([truths[:5] + random.integers(-6, 7, (5, 4)), [[80, 80, 90, 90]]])
        scores, labels, true_labels = (
            np.sort(random.random(6))[::-1],
            random.integers(0, 3, 6),
            random.integers(0, 3, 6),
        )
        images.append(BoxImage('a.png', boxes, labels, scores, truths, true_labels, np.zeros(6, bool)))
        iou = coco_mask.iou(*(np.c_[b[:, :2], b[:, 2:] - b[:, :2]] for b in (boxes, truths)), np.zeros(6, bool))
        free = [True] * 6
        for number in np.flatnonzero(scores >= 0.3):
            best = max(range(6), key=lambda place: iou[number, place] if free[place] else -1)
            right = free[best] and iou[number, best] >= 0.5
            expected[true_labels[best] if right else 3, labels[number]] += 1
            free[best] = free[best] and not right
        for label in true_labels[free]:
            expected[label, 3] += 1
    assert expected[:3, :3].sum() > 20
    assert np.array_equal(object_confusion(detector(*images), 0.3), expected)


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_ap50_is_that_of_mmdet(seed, tmp_path):
    metrics = pytest.importorskip('mmdet.evaluation.metrics')
    images = random_images(seed)
    metric = metrics.CocoMetric(metric='bbox', outfile_prefix=str(tmp_path / 'result'))
    metric.dataset_meta = {'classes': CLASSES}
    samples = []
    for i, image in enumerate(images):
        instances = [
            {'bbox': box.tolist(), 'bbox_label': int(label), 'ignore_flag': 0}
            for box, label in zip(image.true_boxes, image.true_labels)
        ]
        found = {'bboxes': image.boxes, 'scores': image.scores, 'labels': image.labels}
        found = {key: torch.from_numpy(value) for key, value in found.items()}
        samples.append({'img_id': i, 'ori_shape': (120, 120), 'instances': instances, 'pred_instances': found})
    metric.process({}, samples)
    expected = metric.evaluate(len(images))['coco/bbox_mAP_50']
    assert 0.1 < expected < 0.9
    assert find_errors(detector(*images))['value'] == pytest.approx(100 * expected, abs=0.06)  # it rounds to 0.1


def test_cost_of_an_image_is_the_gain_when_it_is_perfect():
    images = random_images(5)
    report = find_errors(detector(*images))
    for entry in report['images']:
        better = [
            boxes_of([(b, c, 1.0) for b, c in zip(i.true_boxes, i.true_labels)], list(zip(i.true_boxes, i.true_labels)))
            if i.path == entry['path']
            else i
            for i in images
        ]
        gain = find_errors(detector(*better))['value'] - report['value']
        assert entry['lost'] == pytest.approx(gain, abs=0.011)
    lost = [entry['lost'] for entry in report['images']]
    assert lost == sorted(lost, reverse=True)
    assert lost[0] > 1


def test_average_precision_of_the_ends():
    assert average_precision(np.ones(4, bool), 4) == 1
    assert average_precision(np.zeros(4, bool), 4) == 0
    assert average_precision(np.zeros(0, bool), 4) == 0
    assert np.isnan(average_precision(np.zeros(2, bool), 0))


def random_maps(seed: int, number: int = 5) -> list[MapImage]:
    rng = np.random.default_rng(seed)
    images = []
    for i in range(number):
        truth = rng.integers(0, 3, (7 + i, 9)).astype(np.int16)
        prediction = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, 3, truth.shape)).astype(np.int16)
        truth[rng.random(truth.shape) < 0.1] = 255
        images.append(MapImage(f'{i}.png', prediction, truth))
    return images


def test_miou_is_that_of_mmseg():
    metrics = pytest.importorskip('mmseg.evaluation.metrics')
    images = random_maps(0)
    metric = metrics.IoUMetric(iou_metrics=['mIoU'])
    metric.dataset_meta = {'classes': CLASSES}
    maps = [(torch.from_numpy(m.prediction.astype(int)), torch.from_numpy(m.truth.astype(int))) for m in images]
    metric.process({}, [{'pred_sem_seg': {'data': p[None]}, 'gt_sem_seg': {'data': t[None]}} for p, t in maps])
    assert find_errors(segmentor(*images))['value'] == pytest.approx(metric.evaluate(5)['mIoU'], abs=0.01)


def test_cost_of_a_map_is_the_gain_when_it_is_perfect():
    images = random_maps(1)
    report = find_errors(segmentor(*images))
    for entry in report['images']:
        better = [MapImage(i.path, i.truth % 255, i.truth) if i.path == entry['path'] else i for i in images]
        gain = find_errors(segmentor(*better))['value'] - report['value']
        assert entry['lost'] == pytest.approx(gain, abs=0.011)
        assert entry['lost'] > 0


def test_kinds_of_error_of_a_map():
    truth = np.zeros((10, 10), np.int16)
    truth[:4] = 1
    prediction = np.zeros((10, 10), np.int16)
    prediction[0, :3] = 1  # 3 of 40 pixels
    prediction[9, 0] = 2
    report = find_errors(segmentor(MapImage('a.png', prediction, truth)))
    (entry,) = report['images']
    assert entry['errors'] == [{'kind': 'missed', 'label': 1}, {'kind': 'invented', 'label': 2}]
    assert entry['accuracy'] == 62
    assert entry['confused'] == [[1, 0, 37.0], [0, 2, 1.0]]
    prediction[0] = 1  # 10 of 40
    report = find_errors(segmentor(MapImage('a.png', prediction, truth)))
    assert report['images'][0]['errors'][0] == {'kind': 'poor overlap', 'label': 1}
    assert report['counts'] == {'missed': 0, 'invented': 1, 'poor overlap': 1}


def test_labels_that_are_no_classes_or_not_there():
    prediction = np.zeros((2, 2), np.int16)
    with pytest.raises(ValueError, match='b.png has the label 3, the model 3 classes'):
        find_errors(segmentor(MapImage('b.png', prediction, np.full((2, 2), 3))))
    for images in ([], [MapImage('b.png', prediction, np.full((2, 2), 255))]):
        with pytest.raises(ValueError, match='no pixel of the test data is labelled'):
            find_errors(segmentor(*images))


def test_wrong_settings_name_the_value():
    with pytest.raises(ValueError, match=r'score_thr 30 is impossible; use 0 to 1'):
        find_errors(detector(), 30)
