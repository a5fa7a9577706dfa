"""Samples with their labels in one picture."""

import shutil

import cv2
import numpy as np
import pytest
from band_sets import band_set, write_image
from own_sets import SIZE, mask_set, simple
from PIL import Image

from mmlska.own_data.check import check_folder
from mmlska.own_data.contact_sheet import write_sheet


def test_contact_sheets_show_the_labels(tmp_path):
    root = simple(tmp_path / 'd')
    for i in range(4):  # black photos: what is bright is drawn
        Image.new('RGB', SIZE).save(root / f'images/{i}.png')
    checked = check_folder(str(root))
    assert write_sheet(str(tmp_path / 'a.png'), checked.source) == 4
    sheet = cv2.imread(str(tmp_path / 'a.png'))
    assert sheet.shape == (324, 4 * 324, 3)
    red = (sheet[..., 2] > 90) & (sheet[..., 1] < 60)
    assert red.mean() > 0.1
    checked = check_folder(str(mask_set(tmp_path / 'e')))
    assert write_sheet(str(tmp_path / 'b.png'), checked.source) == 4
    assert cv2.imread(str(tmp_path / 'b.png')) is not None
    shutil.rmtree(root / 'images')
    (root / 'images').mkdir()
    checked = check_folder(str(root))
    with pytest.raises(ValueError, match='no image can be drawn; the findings say why'):
        write_sheet(str(tmp_path / 'c.png'), checked.source)


def test_contact_sheets_show_the_chosen_channels(tmp_path):
    root = band_set(tmp_path / 'd', 1)
    values = np.zeros((96, 96, 5), np.uint16)
    values[:, 48:, 3], values[:, :48, 0] = 50_000, 900
    write_image(root / 'images/0.tif', values)
    source = check_folder(str(root)).source
    drawn = {}
    for bands in ((), (4, 2, 1)):
        path = tmp_path / f'sheet{len(bands)}.png'
        assert write_sheet(path, source, bands=bands) == 1
        drawn[bands] = cv2.imread(str(path))[2:-2, 2:-2, ::-1].reshape(-1, 3)
    share = {
        bands: [(tile == colour).all(1).mean() for colour in ((255, 0, 0), (0, 0, 255))]
        for bands, tile in drawn.items()
    }
    assert share[()][0] > 0.2  # the first channel as red, half of the image but for labels and the name
    assert share[()][1] == 0
    assert min(share[4, 2, 1]) > 0.2  # the fourth as red in one half, the first as blue in the other
    for bands in ((1, 2, 6), (1, 2)):
        with pytest.raises(ValueError, match=r'^bands 1 2.* cannot be shown; give one or three numbers from 1 to 5$'):
            write_sheet(tmp_path / 'wrong.png', source, bands=bands)
    assert not (tmp_path / 'wrong.png').exists()


def test_contact_sheets_skip_what_is_broken(tmp_path):
    root = band_set(tmp_path / 'd', 3, channels=1, dtype='float32', masks=True)
    source = check_folder(str(root)).source
    broken = root / 'images/1.tif'
    broken.write_bytes(broken.read_bytes()[:200])
    assert write_sheet(tmp_path / 'sheet.png', source, bands=(1,)) == 2
