"""Carry stock weights into a model whose YAML has LSKA, where inserted rows shift the numbers of the layers."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ..models.attention import LSKA
from .attach import _network
from .files import load_network
from .rows import TWINS

_TWIN_NAMES = {block.__name__: twin.__name__ for block, twin in TWINS.items()}


def transfer(model: nn.Module, stock: nn.Module | str | Path, *, trust: bool | None = None) -> int:
    """Copy the tensors of a stock model into one with LSKA, layer by layer as the two are wired; print how many arrived.

    Ultralytics' own ``load`` goes by layer numbers: one inserted row and everything after it stays random.

    Args:
        model: ``YOLO(...)`` of a YAML with LSKA, or its ``.model``.
        stock: The stock model: ``YOLO(...)``, its ``.model`` or the path of a ``.pt`` file.
        trust: Let the file run code; see :func:`mmlska.yolo.load_yolo`.

    Returns:
        The number of tensors transferred. Those of another shape (the classifier, for another number of classes) and those of blocks
        that LSKA replaces (self-attention in C2PSA_LSKA) are named and left.

    Raises:
        FileNotFoundError: If there is no such file.
        WeightsError: If it cannot be read.
        ValueError: If the model is not the stock one with LSKA added.
    """
    if isinstance(stock, (str, Path)):
        stock = load_network(stock, trust=trust)
    target, source = _network(model), _network(stock)
    layer_of = align(_rows(source), _rows(target))
    tensors, state = source.float().state_dict(), target.state_dict()
    left = []
    for name, tensor in tensors.items():
        prefix, number, rest = name.split('.', 2)
        new = f'{prefix}.{layer_of[int(number)]}.{rest}'
        if new in state and state[new].shape == tensor.shape:
            state[new].copy_(tensor)  # a state dict has no gradients
        else:
            left.append(name)
    moved = len(tensors) - len(left)
    more = f' and {len(left) - 3} more' if len(left) > 3 else ''
    named = f'; left: {", ".join(left[:3])}{more}' if left else ''
    print(f'transferred {moved}/{len(tensors)} stock tensors{named}')
    if model is not target:
        # train() of Ultralytics begins from the model's weights only if there is a checkpoint.
        model.ckpt = {'model': target}
    return moved


def align(stock: list[tuple[list[int], str]], rows: list[tuple[list[int], str]]) -> dict[int, int]:
    """Find the layer of a model with LSKA that corresponds to each stock layer.

    Args:
        stock: For each layer the layers that it reads (-1: the image) and its module's name.
        rows: The same of the model with LSKA.

    Raises:
        ValueError: If the models differ by more than LSKA.

    Example:
        >>> align([([-1], 'Conv'), ([0], 'SPPF')], [([-1], 'Conv'), ([0], 'LSKA'), ([1], 'SPPF_LSKA')])
        {0: 0, 1: 2}
    """
    stands_for: dict[int, int] = {-1: -1}  # layer of the model, to the stock layer whose map it passes on
    layer_of: dict[int, int] = {}
    for j, (sources, name) in enumerate(rows):
        if name == LSKA.__name__:
            stands_for[j] = stands_for[sources[0]]
            continue
        i = len(layer_of)
        read = [stands_for[s] for s in sources]
        if i == len(stock) or stock[i] != (read, _TWIN_NAMES.get(name, name)):
            expected = f'{stock[i][1]} reading {stock[i][0]}' if i < len(stock) else 'no more layers'
            raise ValueError(
                f'layer {j} is {name} reading stock layers {read} where the stock model has {expected}; '
                f'give the stock model of the same family and scale'
            )
        layer_of[i], stands_for[j] = j, i
    if len(layer_of) < len(stock):
        raise ValueError(f'the model ends before stock layer {len(layer_of)}, {stock[len(layer_of)][1]}')
    return layer_of


def _rows(network: nn.Module) -> list[tuple[list[int], str]]:
    rows = []
    for i, layer in enumerate(network.model):
        sources = layer.f if isinstance(layer.f, list) else [layer.f]
        module = layer[0] if type(layer) is nn.Sequential else layer
        rows.append(([i + s if s < 0 else s for s in sources], type(module).__name__))
    return rows
