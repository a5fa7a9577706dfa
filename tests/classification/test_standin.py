"""The generated images in ImageNet's layouts leave real ones alone."""

import pytest

from mmlska.classification.standin import write_standin


@pytest.mark.parametrize(
    ('folder', 'file'),
    [
        ('imagenet/val/n01440764', None),
        ('imagenet-c/noise/fog/3/n01440764', 'a.JPEG'),
        ('imagenet-r', 'README.txt'),
        ('imagenet/val', 'ILSVRC2012_val_00000001.JPEG'),
    ],
)
def test_standin_leaves_real_sets_alone(tmp_path, folder, file):
    (tmp_path / folder).mkdir(parents=True)
    if file:
        (tmp_path / folder / file).touch()
    before = sorted(tmp_path.rglob('*'))
    with pytest.raises(ValueError, match=rf'{folder}.* is not of the stand-in'):
        write_standin(tmp_path, per_class=1)
    assert sorted(tmp_path.rglob('*')) == before


def test_standin_may_be_written_again(tmp_path):
    (tmp_path / 'scenes').mkdir()
    (tmp_path / 'scenes/other.png').touch()
    files = sorted(write_standin(tmp_path, per_class=1).rglob('*'))
    assert sorted(write_standin(tmp_path, per_class=1).rglob('*')) == files
