"""What the page shows, without the page."""

import re
import shutil

import cv2
import numpy as np
import pytest
import torch
from picture_files import with_side

from mmlska.analysis.receptive_field import input_gradient
from mmlska.app.field import draw_field, point_field
from mmlska.app.models import Models, find_trained
from mmlska.app.views import draw_view, enlarged, find_examples, legend, make_view, read_photo
from mmlska.infer import Predictor


@pytest.fixture(scope='module')
def predictors(tiny_models):
    return {name: Predictor(*tiny_models[name], device='cpu') for name in ('upernet', 'mask_rcnn')}


@pytest.fixture(scope='module')
def photo():
    image = np.random.default_rng(0).integers(0, 255, (70, 110, 3), np.uint8)
    return cv2.GaussianBlur(image, (0, 0), 2)


def save(path, image):
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path


def leave_training(folder, model, checkpoint='epoch_1.pth'):
    folder.mkdir(parents=True)
    shutil.copy(model.config, folder / 'config.py')
    shutil.copy(model.checkpoint, folder / checkpoint)
    (folder / 'last_checkpoint').write_text(f'/another/machine/{checkpoint}')


def test_trainings_are_found_and_what_is_none_is_passed_over(tiny_models, tmp_path):
    with pytest.raises(
        FileNotFoundError, match='no trained detector or segmentor in .*; train one first .*or give --model'
    ):
        find_trained(tmp_path)
    leave_training(tmp_path / 'b', tiny_models['upernet'])
    leave_training(tmp_path / 'a', tiny_models['retinanet'], 'iter_20.pth')
    leave_training(tmp_path / 'unfinished', tiny_models['upernet'])
    (tmp_path / 'unfinished/epoch_1.pth').unlink()
    leave_training(tmp_path / 'classifier', tiny_models['upernet'])
    (tmp_path / 'classifier/config.py').write_text(
        "default_scope = 'mmpretrain'\nmodel = dict(type='X', head=dict())\n"
    )
    (tmp_path / 'no training').mkdir()
    assert find_trained(tmp_path) == {
        'a': (tmp_path / 'a/config.py', tmp_path / 'a/iter_20.pth'),
        'b': (tmp_path / 'b/config.py', tmp_path / 'b/epoch_1.pth'),
    }


def test_models_are_loaded_once_and_wrong_files_are_named(tiny_models):
    wrong = tiny_models['retinanet'].config, tiny_models['upernet'].checkpoint
    models = Models({'right': tiny_models['upernet'], 'wrong': wrong}, 'cpu')
    assert models.names == ['right', 'wrong']
    assert models['right'] is models['right']
    with pytest.raises(ValueError, match='tiny_upernet.pth does not fit tiny_retinanet.py'):
        models['wrong']


def test_photos_are_read_within_limits(tmp_path, photo):
    image, size = read_photo(save(tmp_path / 'a.png', photo), 1)
    assert np.array_equal(image, photo)
    assert size == 'a.png, 110 x 70 px'
    large, size = read_photo(save(tmp_path / 'b.png', np.zeros((10, 4096, 3), np.uint8)), 1)
    assert large.shape == (5, 2048, 3)
    assert size == 'b.png, 4096 x 10 px, made smaller to 2048 x 5 px'
    # Named by its header, of which it is a lie: nothing of it is decoded.
    (tmp_path / 'bomb.png').write_bytes(with_side((tmp_path / 'a.png').read_bytes(), 60_000))
    for name, message in [
        ('bomb.png', r'bomb.png has 60000 x 60000 = 3600.0 million pixels, more than 1; make it smaller'),
        ('a.txt', r'^a.txt is not an image that can be read'),
        ('a.mov', r'^a.mov is a video'),
    ]:
        (tmp_path / 'a.txt').write_text('text')
        with pytest.raises(ValueError, match=message):
            read_photo(tmp_path / name, 1)


def test_examples(tmp_path, photo):
    for name in 'abcde':
        save(tmp_path / f'{name}.png', photo)
    assert [path.name for path in find_examples([tmp_path], each=2)] == ['a.png', 'c.png']
    with pytest.raises(FileNotFoundError, match='no images found in nowhere'):
        find_examples(['nowhere'])


def test_segments_with_their_shares(predictors, photo):
    predictor = predictors['upernet']
    view = make_view('a', predictor, photo)
    assert view.seconds > 0
    assert 'seg_logits' not in view.prediction.sample
    mask = view.prediction.index_mask
    palette = np.array(predictor.dataset_meta['palette'])
    assert np.array_equal(draw_view(predictor, view, 0.3, 1.0), enlarged(palette[mask]))
    assert np.array_equal(draw_view(predictor, view, 0.3, 0.0), enlarged(photo[..., ::-1]))
    first = re.search(r'rgb(\(.+?\)).*?</span>(\w+) .*?([\d.]+)%', legend(view, palette.tolist(), 0.3))
    most = np.bincount(mask.ravel()).argmax()
    assert first[2] == predictor.classes[most]
    assert float(first[3]) == pytest.approx(100 * (mask == most).mean(), abs=0.06)


def test_instances_above_the_score(predictors, photo):
    predictor = predictors['mask_rcnn']
    view = make_view('a', predictor, photo)
    scores = view.prediction.sample.pred_instances.scores
    assert len(scores) > 2
    threshold = float(scores.median())
    palette = predictor.dataset_meta['palette']
    counts = re.findall(r'"note">(\d+), best', legend(view, palette, threshold))
    assert sum(map(int, counts)) == int((scores >= threshold).sum())
    assert 'Nothing found with a score of 1.01' in legend(view, palette, 1.01)
    drawn = [draw_view(predictor, view, threshold, 0.5) for _ in range(2)]
    assert np.array_equal(*drawn)  # colours of masks stay while a slider moves
    assert np.abs(drawn[0].astype(int) - enlarged(photo[..., ::-1])).mean() > 1


def test_class_names_are_text(predictors, photo):
    view = make_view('a', predictors['upernet'], photo)
    view.prediction.classes = ('<script>',) * len(view.prediction.classes)
    text = legend(view, predictors['upernet'].dataset_meta['palette'], 0.3)
    assert '<script>' not in text
    assert '&lt;script&gt;' in text


@pytest.mark.parametrize('point', [(0, 0), (109, 69), (40, 30)])
@pytest.mark.parametrize('stage', [0, -1])
def test_the_field_is_the_gradient_at_the_point(tiny_models, predictors, photo, point, stage):
    predictor = predictors['mask_rcnn']  # its pipeline keeps the size, so that the heat is the gradient itself
    inputs, notes = predictor.network_input(photo)
    assert tuple(notes['scale_factor']) == (1.0, 1.0)
    assert inputs.shape[2:] == (96, 128)  # padded to a multiple of 32
    stride = {0: 4, -1: 32}[stage]
    unfolded = Predictor(*tiny_models['mask_rcnn'], device='cpu', deploy=False)
    position = point[1] // stride, point[0] // stride
    expected, _ = input_gradient(unfolded.model.backbone, inputs, stage=stage, position=position)
    found = point_field(predictor, photo, point, stage)
    torch.testing.assert_close(
        torch.from_numpy(found.heat).float(), expected[0, :70, :110], rtol=1e-3, atol=1e-4 * float(expected.max())
    )
    half, nearly_all = found.squares
    assert 1 <= half.side <= nearly_all.side
    picture = draw_field(photo, found)
    assert picture.shape == photo.shape
    assert picture.dtype == np.uint8
    assert (picture[point[1], point[0]] == 255).all()


def test_the_field_follows_the_photo_through_resizing(predictors, photo):
    inputs, _ = predictors['upernet'].network_input(photo)
    assert inputs.shape[2:] != photo.shape[:2]
    for point in [(10, 10), (100, 60)]:
        heat = point_field(predictors['upernet'], photo, point, 0).heat
        assert heat.shape == photo.shape[:2]
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        assert abs(column - point[0]) < 25
        assert abs(row - point[1]) < 25


def test_points_and_stages_that_do_not_exist(predictors, photo):
    with pytest.raises(ValueError, match=r'point \(110, 0\) is outside the image of 110 x 70 px'):
        point_field(predictors['upernet'], photo, (110, 0))
    with pytest.raises(ValueError, match='stage 5 does not exist; the backbone returns 4'):
        point_field(predictors['upernet'], photo, (0, 0), 4)
