"""Photos are read as they are, by the label they belong to."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from packed_photos import TILE, photos

from mmlska.classification import PhotoFolder, TinyImageNet
from mmlska.classification.datasets import whole_batch
from mmlska.engine.loops import use_repeatable_training
from mmlska.engine.samples import GuardedDataset


def test_sheets_are_cut_row_by_row(packed):
    for split, count in (('train', 8), ('val', 4)):
        data = TinyImageNet(str(packed), data_prefix=dict(img=split), tile=TILE)
        expected = np.concatenate([photos(split, label, count) for label in range(4)])
        assert np.array_equal(data.images.numpy(), expected)
        assert data.labels.tolist() == [label for label in range(4) for _ in range(count)]
        assert data.metainfo['classes'] == ('class n0', 'class n1', 'class n2', 'class n3')


def test_fewer_photos_and_classes(packed):
    data = TinyImageNet(str(packed), photos_per_class=3, num_classes=2, tile=TILE)
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert np.array_equal(data.images[3:].numpy(), photos('train', 1, 8)[:3])


def test_wrong_sheets_are_named(packed):
    with pytest.raises(ValueError, match=r'photos_per_class=9 is more than .*n0.webp has: 8'):
        TinyImageNet(str(packed), photos_per_class=9, tile=TILE)
    with pytest.raises(ValueError, match=r'n0.webp is 128x64 pixels, not a whole number of tiles of 24; set tile'):
        TinyImageNet(str(packed), tile=24)
    with pytest.raises(FileNotFoundError, match=r'nowhere/n0.webp does not exist; check data_root'):
        TinyImageNet(str(packed), data_prefix=dict(img='nowhere'))


@pytest.fixture
def folder(tmp_path):
    """Photos of odd sizes, red, green and blue in the middle, in folders of two depths."""
    for i, (name, shape) in enumerate({'b': (40, 90), 'a': (90, 40), 'c/images': (17, 17)}.items()):
        photo = np.zeros((*shape, 3), np.uint8)
        photo[..., i] = 255  # BGR
        (tmp_path / 'train' / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / 'train' / name / 'x.PNG'), photo)
    (tmp_path / 'train/a/notes.txt').write_text('no photo')
    return tmp_path


def test_folders_of_photos(folder):
    data = PhotoFolder(str(folder), size=32)
    assert data.images.shape == (3, 32, 32, 3)
    assert data.metainfo['classes'] == ('a', 'b', 'c')
    assert data.images[:, 16, 16].tolist() == [[0, 255, 0], [0, 0, 255], [255, 0, 0]]
    assert PhotoFolder(str(folder), classes=['c', 'a']).images[0, 0, 0].tolist() == [255, 0, 0]


def test_wrong_folders_are_named(folder):
    with pytest.raises(FileNotFoundError, match='val has no folders'):
        PhotoFolder(str(folder), data_prefix=dict(img='val'))
    with pytest.raises(FileNotFoundError, match='/d has no photos'):
        PhotoFolder(str(folder), classes=['a', 'd'])
    (folder / 'train/a/x.PNG').write_bytes(b'nothing')
    with pytest.raises(ValueError, match=r'a/x.PNG is not an image that OpenCV can read'):
        PhotoFolder(str(folder))


@pytest.mark.parametrize('training', [False, True])
def test_mmengines_dataloader_gives_whole_batches(packed, training, monkeypatch):
    sizes, take = [], TinyImageNet.__getitems__
    monkeypatch.setattr(
        TinyImageNet, '__getitems__', lambda self, indices: sizes.append(len(indices)) or take(self, indices)
    )
    cfg = Config(
        dict(
            train_cfg=dict(type='EpochBasedTrainLoop'),
            train_dataloader=dict(
                batch_size=5,
                num_workers=0,
                collate_fn=dict(type='whole_batch'),
                sampler=dict(type='DefaultSampler', shuffle=True),
                dataset=dict(type='TinyImageNet', data_root=str(packed), tile=TILE),
            ),
        )
    )
    if training:
        use_repeatable_training(cfg)
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    assert isinstance(loader.dataset, GuardedDataset) == training
    batches = list(loader)
    assert sizes == [5] * 6 + [2]  # not one by one
    assert len(batches) == len(loader) == 7
    assert batches[0]['inputs'].shape == (5, 3, TILE, TILE)
    assert batches[0]['inputs'].is_contiguous(memory_format=torch.channels_last)
    everything = torch.cat([b['inputs'].flatten(1) for b in batches]).sum(1).sort().values
    assert torch.equal(everything, loader.dataset.images.flatten(1).sum(1).sort().values)
    assert torch.equal(whole_batch([loader.dataset[0], loader.dataset[9]])['labels'], torch.tensor([0, 1]))
