"""Samples with their labels in one picture."""

import shutil

import cv2
import pytest
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
