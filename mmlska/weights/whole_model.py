"""Filling a whole detector, segmentor or classifier with a checkpoint: all of it, or an error that says what does not fit."""

from __future__ import annotations

import os
from collections import OrderedDict
from textwrap import shorten

from torch import Tensor, nn

from .checkpoint_file import check_finite, read_checkpoint, state_dict_of
from .layouts import WeightsError
from .load import Coverage, compare


def load_whole_model(
    model: nn.Module, checkpoint: str | os.PathLike, config: str, *, trust: bool | None = None
) -> dict:
    """Load a checkpoint that has every tensor of a model; what names the backbone may have in any published layout.

    Parts that only the file has, such as an auxiliary head, are left out; inside a part everything has to fit.

    Args:
        model: The model. After an error it may hold a part of the file.
        config: What messages call the model's config.
        trust: As for :func:`mmlska.weights.read_checkpoint`.

    Returns:
        The checkpoint's ``meta``, what the training says of itself; empty if that is no dict.

    Raises:
        WeightsError: If the file cannot be read, holds NaN or belongs to another model.
    """
    file = read_checkpoint(checkpoint, trust=trust)
    state_dict = state_dict_of(file)
    strange = next((name for name, value in state_dict.items() if not isinstance(value, Tensor)), None)
    if strange is not None:
        raise WeightsError(f'{file.path} holds no tensor under {strange!r}; give a checkpoint')
    check_finite(state_dict, str(file.path))
    given = OrderedDict((name.removeprefix('module.'), tensor) for name, tensor in state_dict.items())
    given._metadata = getattr(state_dict, '_metadata', None)  # where torch looks for the versions of modules
    meta = file.content.get('meta')
    meta = meta if isinstance(meta, dict) else {}
    own = model.state_dict()
    fits = None
    try:
        # Not compared before: only here the model's parts bring names of other layouts to their own.
        fits = _loaded(own, *model.load_state_dict(given, strict=False))
        why = fits.describe()
    except WeightsError as error:
        why = str(error)
    except RuntimeError as error:  # a tensor has another shape
        fits = compare(given, own)
        why = fits.describe() or ' '.join(str(error).split())
    if why:
        name = meta.get('experiment_name')
        raise WeightsError(
            f'checkpoint {checkpoint} does not fit {config}'
            + (f': {fits.matched} of {fits.total} tensors fit' if fits else '')
            + (f', it was saved by {name}' if name and isinstance(name, str) else '')
            + f'; give the config that it was trained with ({shorten(why, 300, placeholder=" ...")})'
        )
    return meta


def _loaded(own: dict[str, Tensor], missing: list[str], unexpected: list[str]) -> Coverage:
    """What torch says of a load, but for what does not matter."""
    # Old files lack BatchNorm's counter, on which nothing depends: it counts with the statistics beside it.
    needed = [name for name in missing if not name.endswith('num_batches_tracked')]
    lost = {*needed, *(name.replace('running_mean', 'num_batches_tracked') for name in needed)} & own.keys()
    parts = {name.split('.')[0] for name in own}
    unexpected = [name for name in unexpected if name.split('.')[0] in parts]
    return Coverage(len(own) - len(lost), len(own), tuple(needed), tuple(unexpected), {})
