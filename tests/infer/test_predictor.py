"""Predictor on real images with small random models."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from picture_files import with_side
from pycocotools.mask import decode

from mmlska.infer import Predictor
from mmlska.weights import WeightsError

MODELS = ('mask_rcnn', 'retinanet', 'upernet', 'fpn')


@pytest.fixture(scope='module')
def predictors(tiny_models):
    return {name: Predictor(*tiny_models[name], device='cpu') for name in MODELS}


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Six photos, three sizes, neighbours of one size."""
    folder = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(0)
    for i, (height, width) in enumerate([(64, 96), (64, 96), (64, 96), (70, 50), (70, 50), (33, 97)]):
        image = cv2.resize(
            rng.integers(0, 255, (6, 9, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
        )
        cv2.imwrite(str(folder / f'{i}.png'), image)
    return folder


def same(a, b, tolerance=1e-4):
    """Two results that may differ by rounding."""
    assert {k: a[k] for k in ('name', 'height', 'width', 'classes')} == {
        k: b[k] for k in ('name', 'height', 'width', 'classes')
    }
    if 'mask' in a:
        assert (a['mask'] == b['mask']).mean() > 0.999
        return
    assert len(a['instances']) == len(b['instances']) > 0
    for x, y in zip(a['instances'], b['instances']):
        assert x['label'] == y['label']
        assert x['score'] == pytest.approx(y['score'], abs=tolerance)
        assert x['box'] == pytest.approx(y['box'], abs=tolerance * 100)
        if 'mask' in x:
            assert (decode(x['mask']) != decode(y['mask'])).mean() < 1e-3


@pytest.mark.parametrize('name', MODELS)
def test_equals_the_framework(name, predictors, tiny_models, photos):
    """The same as mmdet's and mmseg's own inference, which reads, prepares and predicts one file at a time, unfolded."""
    path = str(photos / '5.png')
    if name in ('mask_rcnn', 'retinanet'):
        from mmdet.apis import inference_detector as infer
        from mmdet.apis import init_detector as init
    else:
        from mmseg.apis import inference_model as infer
        from mmseg.apis import init_model as init
    from mmlska.engine.config import load_config, replace_sync_bn

    cfg = load_config(tiny_models[name].config)
    replace_sync_bn(cfg)
    own = infer(init(cfg, str(tiny_models[name].checkpoint), device='cpu'), path)
    prediction = predictors[name](path)[0]
    if prediction.is_segmentation:
        torch.testing.assert_close(prediction.sample.seg_logits.data, own.seg_logits.data, rtol=1e-4, atol=1e-4)
    else:
        assert len(own.pred_instances) > 0
        for key in ('bboxes', 'scores', 'labels'):
            ours = prediction.sample.pred_instances[key]
            torch.testing.assert_close(ours, own.pred_instances[key], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize('name', MODELS)
def test_batch_size_changes_nothing(name, predictors, photos):
    one = [p.to_dict() for p in predictors[name](photos)]
    four = [p.to_dict() for p in predictors[name](photos, batch_size=4)]
    assert [p['name'] for p in one] == [str(photos / f'{i}.png') for i in range(6)]
    for a, b in zip(one, four, strict=True):
        same(a, b)


def test_kinds_of_input_agree(predictors, photos, tmp_path):
    predictor = predictors['retinanet']
    path = photos / '3.png'
    image = cv2.imread(str(path))
    by_path = predictor(path)[0].to_dict()
    by_array, again = (p.to_dict() for p in predictor([image, str(path)]))
    assert by_array.pop('name') == ''
    same(dict(by_array, name=str(path)), by_path)
    same(again, by_path)
    assert len(predictor(str(photos / '[0-3].png'))) == 4

    video = cv2.VideoWriter(str(tmp_path / 'clip.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 5, (50, 70))
    assert video.isOpened()
    for _ in range(3):
        video.write(image)
    video.release()
    frames = predictor(tmp_path / 'clip.avi', batch_size=2)
    assert [p.name for p in frames] == [f'{tmp_path / "clip.avi"}#{i:06d}' for i in range(3)]
    assert frames[0].image.shape == image.shape


def test_detector_to_dict_is_plain(predictors, photos):
    import json

    prediction = predictors['mask_rcnn'](photos / '0.png')[0]
    result = prediction.to_dict()
    assert json.loads(json.dumps(result)) == result
    scores = [i['score'] for i in result['instances']]
    assert scores == sorted(scores, reverse=True)
    first = result['instances'][0]
    assert first['class'] == result['classes'][first['label']]
    assert result['classes'] == ['circle', 'square', 'triangle', 'star', 'ring']
    mask = prediction.sample.pred_instances.masks[int(prediction.sample.pred_instances.scores.argmax())]
    np.testing.assert_array_equal(decode(first['mask']).astype(bool), mask.numpy())
    middle = scores[len(scores) // 2]
    kept = prediction.to_dict(score_thr=middle)['instances']
    assert len(kept) == sum(s >= middle for s in scores) < len(scores)


def test_deploy_and_bf16_stay_close(predictors, tiny_models, photos):
    path = photos / '0.png'
    plain = Predictor(*tiny_models['upernet'], device='cpu', deploy=False)
    same(plain(path)[0].to_dict(), predictors['upernet'](path)[0].to_dict())
    for name in ('mask_rcnn', 'upernet'):
        low = Predictor(*tiny_models[name], device='cpu', dtype='bf16')(path)[0]
        full = predictors[name](path)[0]
        if low.is_segmentation:
            assert (low.index_mask == full.index_mask).mean() > 0.9
            assert (low.sample.seg_logits.data != full.sample.seg_logits.data).any()
        else:
            assert low.sample.pred_instances.bboxes.dtype == torch.float32
            assert low.to_dict()['instances'][0]['score'] == pytest.approx(
                full.to_dict()['instances'][0]['score'], abs=0.05
            )


@pytest.mark.parametrize('name', MODELS)
def test_one_pixel(name, predictors):
    result = predictors[name](np.full((1, 1, 3), 90, np.uint8))[0].to_dict()
    if 'mask' in result:
        assert result['mask'].shape == (1, 1)
    else:
        for instance in result['instances']:
            assert min(instance['box']) >= 0
            assert max(instance['box']) <= 1


@pytest.mark.parametrize('name', ['mask_rcnn', 'upernet'])
def test_tiles_of_an_image_that_fits_in_one(name, predictors, photos):
    path = photos / '0.png'
    same(predictors[name](path, tile=96)[0].to_dict(), predictors[name](path)[0].to_dict())


def test_tiles_blend_to_the_whole_of_a_segmentation(predictors, photos):
    """Far from a boundary a tile sees what the whole image shows, so most pixels agree; the mask has the image's size."""
    image = cv2.resize(cv2.imread(str(photos / '0.png')), (400, 260))
    whole = predictors['fpn'](image)[0]
    tiled = predictors['fpn'](image, tile=160, overlap=48, batch_size=3)[0]
    assert tiled.index_mask.shape == (260, 400)
    assert (tiled.index_mask == whole.index_mask).mean() > 0.8
    one_by_one = predictors['fpn'](image, tile=160, overlap=48)[0]
    assert (tiled.index_mask == one_by_one.index_mask).mean() > 0.999


def test_tiles_of_a_detector_in_pixels_of_the_image(predictors, photos):
    image = cv2.resize(cv2.imread(str(photos / '0.png')), (230, 150))
    prediction = predictors['mask_rcnn'](image, tile=96, overlap=32, batch_size=4)[0]
    result = prediction.to_dict()
    assert result['instances']
    boxes = np.array([i['box'] for i in result['instances']])
    assert boxes[:, 2].max() > 150
    assert boxes[:, 2].max() <= 230
    assert boxes[:, 3].max() <= 150
    for instance in result['instances']:
        assert instance['mask']['size'] == [150, 230]
        ys, xs = decode(instance['mask']).nonzero()
        if len(xs):  # the mask lies in its box
            x1, y1, x2, y2 = instance['box']
            assert xs.min() >= x1 - 2
            assert xs.max() <= x2 + 2
            assert ys.min() >= y1 - 2
            assert ys.max() <= y2 + 2


def test_large_image_needs_tiles(predictors, monkeypatch):
    monkeypatch.setattr('mmlska.infer.sources.MAX_PIXELS', 100 * 100)
    with pytest.raises(ValueError, match=r'image 0 has 120x110 pixels.*tile=1024'):
        predictors['upernet'](np.zeros((110, 120, 3), np.uint8))
    assert predictors['upernet'](np.zeros((110, 120, 3), np.uint8), tile=64)[0].index_mask.shape == (110, 120)


def test_large_file_is_refused_by_its_header(predictors, tmp_path):
    """The header is all there is of it: whoever decodes the file finds it broken."""
    content = with_side(cv2.imencode('.png', np.zeros((2, 2, 3), np.uint8))[1].tobytes(), 20_000)
    (tmp_path / 'large.png').write_bytes(content[:60])
    with pytest.raises(ValueError, match=r'large.png has 20000x20000 pixels, more than 64 million: .*tile=1024'):
        predictors['upernet'](tmp_path / 'large.png')


@pytest.mark.parametrize('name', ['retinanet', 'upernet'])
def test_image_too_elongated_to_be_resized(name, predictors, tmp_path):
    cv2.imwrite(str(tmp_path / 'line.png'), np.full((1, 4000, 3), 90, np.uint8))
    with pytest.raises(ValueError, match=r'line.png has 4000x1 pixels, of whose shorter side .* leaves none; crop'):
        predictors[name](tmp_path / 'line.png')
    with pytest.raises(ValueError, match='image 0 has 1x4000 pixels'):
        predictors[name](np.full((4000, 1, 3), 90, np.uint8))
    assert predictors[name](np.full((2, 160, 3), 90, np.uint8))[0].image.shape == (2, 160, 3)


MEMORY = """
import sys
import numpy as np
from pathlib import Path
from mmlska.infer import Predictor

predictor = Predictor(*sys.argv[1:3], device='cpu')
for width in (2048, 20000):
    (prediction,) = predictor(np.full((2048, width, 3), 90, np.uint8), tile=1024)
    assert prediction.index_mask.shape == (2048, width)
    print(next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM')))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not Path('/proc/self/status').exists(), reason='the largest memory of one process is read from /proc'
)
def test_tiles_bound_memory(tiny_models):
    """A wider image needs itself, its mask and two strips of logits more: 2048 and 2 x 128 rows of six classes."""
    result = subprocess.run(
        [sys.executable, '-c', MEMORY, *tiny_models['upernet']], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    lines = result.stdout.splitlines()
    small, large = (int(line.split()[1]) * 1024 for line in lines if line.startswith('VmHWM'))
    logits = 20000 * 6 * 4  # of one row
    assert large - small < 20000 * 2048 * (3 + 1) + 2 * 128 * logits + 100e6 < 2048 * logits


def test_draws_masks_boxes_and_segmentations(predictors, photos, tmp_path):
    for name in ('mask_rcnn', 'upernet'):
        for tile in (0, 48):
            out = tmp_path / f'{name}{tile}' / 'picture.png'
            predictors[name].draw(predictors[name](photos / '0.png', tile=tile)[0], out, score_thr=0.1)
            picture = cv2.imread(str(out))
            assert picture.shape == (64, 96, 3)
            assert (picture != cv2.imread(str(photos / '0.png'))).any()
            assert [p.name for p in out.parent.iterdir()] == ['picture.png']


def test_draws_large_images_smaller(predictors, tmp_path):
    image = np.full((40, 2600, 3), 120, np.uint8)
    for name in ('mask_rcnn', 'upernet'):
        predictor = predictors[name]
        predictor.draw(predictor(image, tile=640)[0], tmp_path / f'{name}.png', score_thr=0.1)
        assert cv2.imread(str(tmp_path / f'{name}.png')).shape == (32, 2048, 3)


def test_drawing_changes_neither_the_prediction_nor_numpys_random_numbers(predictors, photos, tmp_path):
    small = cv2.imread(str(photos / '0.png'))
    for image in (small, cv2.resize(small, (2100, 80))):
        (prediction,) = predictors['mask_rcnn'](image)
        before = prediction.to_dict()
        np.random.seed(3)  # noqa: NPY002
        predictors['mask_rcnn'].draw(prediction, tmp_path / 'a.png', score_thr=0.0)
        after = np.random.rand()  # noqa: NPY002
        np.random.seed(3)  # noqa: NPY002
        assert after == np.random.rand()  # noqa: NPY002
        assert before['instances']
        assert prediction.to_dict() == before


def test_draws_an_image_of_one_pixel(predictors, tmp_path):
    image = np.full((1, 1, 3), 120, np.uint8)
    for name in ('retinanet', 'upernet'):
        predictor = predictors[name]
        predictor.draw(predictor(image)[0], tmp_path / f'{name}.png')
        assert cv2.imread(str(tmp_path / f'{name}.png')).shape == (1, 1, 3)


def test_wrong_checkpoint_for_the_config(tiny_models):
    with pytest.raises(
        ValueError,
        match=r'tiny_upernet.pth does not fit tiny_retinanet.py: .* fit, it was saved by tiny_upernet; give the config',
    ) as error:
        Predictor(tiny_models['retinanet'].config, tiny_models['upernet'].checkpoint)
    assert len(str(error.value)) < 700  # a screen can hold it; the path of a temporary folder is part of it


def test_wrong_settings(tiny_models, predictors):
    with pytest.raises(FileNotFoundError, match='checkpoint nothing.pth does not exist'):
        Predictor(tiny_models['fpn'].config, 'nothing.pth')
    with pytest.raises(ValueError, match="dtype='int8' is unknown; choose one of 'fp32'"):
        Predictor(*tiny_models['fpn'], dtype='int8')
    with pytest.raises(ValueError, match="device='gpu' is not there; use 'auto'"):
        Predictor(*tiny_models['fpn'], device='gpu')
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match='batch_size=0'):
        predictors['fpn'](image, batch_size=0)
    with pytest.raises(ValueError, match=r'overlap=40 must be 0 to 32, a third of tile=96'):
        predictors['fpn'](image, tile=96, overlap=40)
    with pytest.raises(ValueError, match='overlap=8 is that of tiles'):
        predictors['fpn'](image, overlap=8)


@pytest.mark.skipif(torch.cuda.is_available(), reason='checks what is said without a GPU')
def test_no_gpu(tiny_models):
    with pytest.raises(ValueError, match="device='cuda' is not there; use 'auto' or 'cpu'; PyTorch sees no GPU"):
        Predictor(*tiny_models['fpn'], device='cuda')
    with pytest.raises(ValueError, match="dtype='fp16' needs a GPU"):
        Predictor(*tiny_models['fpn'], dtype='fp16')


def test_auxiliary_head_may_be_left_out(tiny_models, tmp_path):
    from mmengine.config import Config

    cfg = Config.fromfile(tiny_models['upernet'].config)
    del cfg.model['auxiliary_head']
    cfg.dump(tmp_path / 'without.py')
    assert Predictor(tmp_path / 'without.py', tiny_models['upernet'].checkpoint).classes[0] == 'background'


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(meta=[1], state_dict=None), 'holds a NoneType, no names with tensors; give a checkpoint'),
        (dict(state_dict='x'), 'holds a str, no names with tensors'),
        (dict(state_dict={1: torch.zeros(1)}), 'has 1 where names of tensors should be'),
        (dict(state_dict={'a': 5}), "holds no tensor under 'a'"),
        (dict(state_dict={'backbone.x': torch.tensor(torch.nan)}), 'holds NaN or infinity in backbone.x'),
    ],
)
def test_damaged_checkpoints_are_named(tiny_models, tmp_path, change, message):
    config, _ = tiny_models['retinanet']
    torch.save(change, tmp_path / 'odd.pth')
    with pytest.raises(WeightsError, match=message):
        Predictor(config, tmp_path / 'odd.pth')


@pytest.mark.parametrize(
    'meta', [5, [1], dict(dataset_meta=5), dict(dataset_meta=dict(classes=5)), dict(dataset_meta=dict(classes=[1] * 6))]
)
def test_senseless_names_in_a_checkpoint_are_passed_over(tiny_models, tmp_path, meta):
    config, checkpoint = tiny_models['retinanet']
    content = torch.load(checkpoint, weights_only=False)
    expected = Predictor(config, checkpoint)
    torch.save({**content, 'meta': meta}, tmp_path / 'odd.pth')
    predictor = Predictor(config, tmp_path / 'odd.pth')
    assert all(isinstance(name, str) for name in predictor.classes)
    assert len(predictor.classes) == len(expected.classes)
