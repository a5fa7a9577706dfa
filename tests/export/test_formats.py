"""A format is one module: what it takes to add one."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from mmlska.engine.config import load_config
from mmlska.export import FORMATS, export
from mmlska.export.formats import format_file
from mmlska.export.parity import Parity, compare


def test_every_format_has_what_the_exporter_asks_for():
    for name in FORMATS:
        module = format_file(name)
        assert module.SUFFIX.startswith('.')
        assert {'fp32'} <= set(module.PRECISIONS) <= {'fp32', 'fp16', 'int8'}
        assert isinstance(module.DECODES_BOXES, bool)
        assert callable(module.write)


@pytest.mark.slow
def test_a_new_format_is_one_module_and_its_line(tiny_models, photos, tmp_path, monkeypatch):
    """One that keeps the weights of the graph alone."""
    made_up = ModuleType('mmlska.export.made_up_file')
    made_up.SUFFIX, made_up.PRECISIONS, made_up.DECODES_BOXES = '.weights', ('fp32',), False

    def write(path, job):
        with path.open('wb') as file:
            np.savez(file, **{name: value.numpy() for name, value in job.graph.state_dict().items()})

        def run(batch):
            with torch.no_grad():
                return [value.numpy() for value in job.graph(torch.from_numpy(batch))]

        return Parity(compare(run, job.reference, job.photos, job.facts['input']), None, job.source)

    made_up.write = write
    monkeypatch.setitem(sys.modules, made_up.__name__, made_up)
    monkeypatch.setitem(FORMATS, 'made_up', 'made_up_file')
    model = tiny_models['retinanet']
    given = dict(format='made_up', photos=photos.folder)
    file = export(load_config(str(model.config)), model.checkpoint, tmp_path / 'x.weights', **given)
    assert np.load(file.path).files
    assert file.parity.largest < 1e-4
    assert file.note == 'the file gives class and box maps; boxes are decoded in the ONNX format only'
    with pytest.raises(ValueError, match="format='made_up' knows fp32 only"):
        export(load_config(str(model.config)), model.checkpoint, tmp_path / 'x.weights', dtype='fp16', **given)
