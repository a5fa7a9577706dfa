"""The page takes photos: models of other images are left out of it, or refused when they are named."""

import shutil

import pytest
from band_models import band_model
from band_sets import band_set
from error_models import DETECTOR

from mmlska.app.models import Models, find_trained

WHY = r'^the model reads 5 channels of 16 bits, and the page takes photos of 8 bits in colours; use a model that'


@pytest.fixture(scope='module')
def banded(tmp_path_factory):
    folder = tmp_path_factory.mktemp('banded')
    return band_model(DETECTOR, band_set(folder / 'data', 4), folder)


def leave_training(folder, config, checkpoint):
    folder.mkdir(parents=True)
    shutil.copy(config, folder / 'config.py')
    shutil.copy(checkpoint, folder / 'epoch_1.pth')
    (folder / 'last_checkpoint').write_text('epoch_1.pth')


def test_models_of_photos_alone_are_offered(banded, tiny_models, tmp_path):
    leave_training(tmp_path / 'bands', *banded)
    with pytest.raises(ValueError, match=WHY):
        find_trained(tmp_path)
    leave_training(tmp_path / 'photos', *tiny_models['upernet'])
    assert list(find_trained(tmp_path)) == ['photos']


def test_a_model_that_is_named_is_refused_before_it_is_loaded(banded):
    with pytest.raises(ValueError, match=WHY):
        Models({'bands': (banded[0], 'none.pth')}, 'cpu')['bands']
