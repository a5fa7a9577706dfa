"""Whatever happens to a checkpoint: it loads whole, or an error names what is wrong; the model is never filled in silence."""

from __future__ import annotations

import contextlib

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from published_layouts import SMALL, published

from mmlska import VAN_LSKA
from mmlska.weights import WeightsError, convert_state_dict, inspect_state_dict, read_checkpoint

CHECKPOINTS = {layout: published(layout)[0] for layout in ('classification', 'detection', 'mmpretrain', 'detector')}
TENSORS = published('detection')[1]
NET = VAN_LSKA(SMALL)
INITIAL = {name: t.clone() for name, t in NET.state_dict().items()}


def mutate(weights: dict, data) -> None:
    """One change of one kind to some tensors."""
    names = data.draw(st.lists(st.sampled_from(list(weights)), min_size=1, max_size=60, unique=True), label='names')
    kind = data.draw(
        st.sampled_from(('drop', 'rename', 'swap', 'reshape', 'dtype', 'replace', 'nest', 'add')), label='kind'
    )
    text = st.text(st.characters(codec='utf-8'), max_size=12)
    if kind == 'swap':
        for a, b in zip(names[::2], names[1::2]):
            weights[a], weights[b] = weights[b], weights[a]
        return
    for name in names:
        value = weights.get(name)
        if kind == 'drop':
            del weights[name]
        elif kind == 'rename' and isinstance(name, str):
            old, new = data.draw(st.tuples(st.sampled_from(('block', 'blocks', '.0.', 'norm', 'weight', 'conv')), text))
            weights[name.replace(old, new)] = weights.pop(name)
        elif kind == 'reshape' and isinstance(value, torch.Tensor):
            weights[name] = data.draw(
                st.sampled_from((value.flatten(), value[None], value.new_zeros(0), value.new_zeros(3, 2)))
            )
        elif kind == 'dtype' and isinstance(value, torch.Tensor):
            weights[name] = value.to(
                data.draw(st.sampled_from((torch.float16, torch.float64, torch.int64, torch.bool)))
            )
        elif kind == 'replace':
            weights[name] = data.draw(st.sampled_from((None, 3, 'x', [1.0], {}, {'a': 1})))
        elif kind == 'nest':
            weights[name] = {name: value}
        elif kind == 'add':
            weights[data.draw(text | st.integers())] = value


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_mutated_checkpoints(data):
    layout = data.draw(st.sampled_from(list(CHECKPOINTS)), label='layout')
    whole = CHECKPOINTS[layout]
    weights = dict(whole.get('state_dict', whole))
    for _ in range(data.draw(st.integers(1, 3))):
        if weights:
            mutate(weights, data)
    checkpoint = {**whole, 'state_dict': weights} if 'state_dict' in whole else weights
    try:
        info = inspect_state_dict(checkpoint)
        converted = convert_state_dict(checkpoint)
        assert info.tensors == len(converted)
    except WeightsError:
        converted = None

    with torch.no_grad():
        for name, tensor in NET.state_dict().items():
            tensor.copy_(INITIAL[name])
    try:
        NET.load_state_dict(checkpoint)
    except WeightsError:
        return
    except RuntimeError as error:  # torch's list of the few tensors that may be missing or left over
        if 'in loading state_dict' in str(error):
            return
        raise
    assert converted is not None
    assert set(converted) >= {name for name in NET.state_dict() if 'num_batches' not in name}
    for name, tensor in NET.state_dict().items():
        if name in converted:
            torch.testing.assert_close(tensor, converted[name].to(tensor.dtype), rtol=0, atol=0, equal_nan=True)


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_files(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / 'fuzz.pth'
    zipped = data.draw(st.booleans())
    torch.save({'norm1.bias': torch.arange(4.0)}, path, _use_new_zipfile_serialization=zipped)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assume(content != path.read_bytes())
    path.write_bytes(content)
    with contextlib.suppress(WeightsError):
        read_checkpoint(path)
