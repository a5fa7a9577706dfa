"""What a report keeps of a validation, by the kind of its batches."""

import numpy as np
import torch
from mmengine.config import Config

from mmlska.report.validation import ValidationRecord, read_validation


class Photos(list):
    metainfo = dict(classes=('a', 'b'))


def test_images_of_a_batch_may_be_one_tensor(tmp_path):
    """As the photos in memory of a pretraining come."""
    record = ValidationRecord(Photos(range(4)), Config(dict()))
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    outputs = [dict(scores=torch.tensor([0.2, 0.8]), label=torch.tensor(i % 2)) for i in range(4)]
    record.add(dict(inputs=images), outputs)
    record.save(tmp_path / 'v.npz', 'a test')
    assert np.array_equal(read_validation(tmp_path / 'v.npz').confusion, [[0, 2], [0, 2]])
