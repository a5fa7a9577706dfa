"""Whole classifiers: published files hold the backbone's tensors bare and a linear head beside them."""

from __future__ import annotations

from collections.abc import MutableMapping

from torch import Tensor

from .layouts import WeightsError, head_part, parse


def adopt_classifier(state_dict: MutableMapping[str, Tensor], prefix: str, head: str, classes: int) -> None:
    """Bring what is about to be loaded into a classifier to its names, in place; a classifier's own checkpoint stays as it is.

    Args:
        state_dict: What ``load_state_dict`` passes on, of any published layout.
        prefix: Of the classifier's names in it.
        head: Name of the linear layer, with its dot: 'head.' or 'head.fc.'. The backbone is 'backbone.'.
        classes: Number of classes of the model.

    Raises:
        WeightsError: If the names belong to no VAN, or the file's head has another number of classes.
    """
    given = {name[len(prefix) :]: value for name, value in state_dict.items() if name.startswith(prefix)}
    heads, renamed = {}, {}
    if any(name.startswith('backbone.') for name in given):  # the backbone converts its own part
        for name in given:
            if part := head_part(name):
                heads[part[0]] = state_dict.pop(prefix + name)
    else:
        parsed = parse(given)
        heads, renamed = parsed.head, {f'backbone.{name}': tensor for name, tensor in parsed.tensors.items()}
        for name in given:
            del state_dict[prefix + name]
    for part, tensor in heads.items():
        if tensor.shape[0] != classes:
            raise WeightsError(
                f'the file has a head of {tensor.shape[0]} classes, the model one of {classes}; to keep only the backbone, load it '
                f"into the backbone: init_cfg=dict(type='Pretrained', checkpoint=...) there, or pretrained=... in Python"
            )
        renamed[head + part] = tensor
    state_dict.update({prefix + name: tensor for name, tensor in renamed.items()})
