"""Loading weights of any published layout into a VAN_LSKA, whole or with a report of what did not fit.

Two callers lead here: ``init_cfg=dict(type='Pretrained', checkpoint=...)`` by :mod:`mmlska.models.openmmlab`, and
every ``load_state_dict`` of torch or MMEngine, of the backbone or of a whole detector, by :func:`adopt_state_dict`. MMEngine loads
non-strictly: without this, a classification file fills 28 of a tiny backbone's 452 tensors and training continues from noise.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..log import log
from .adapt import ADAPTATIONS, adapt_weights
from .checkpoint_file import CheckpointFile, check_finite
from .download import read_fetched
from .inspection import WeightsInfo, inspect_parsed, inspect_state_dict
from .layouts import WeightsError, grouped, layout_text, parse, rename
from .manifest import MANIFEST_SCHEME, read_published

#: Share of the model's tensors below which a load is refused.
MIN_MATCHED = 0.9


@dataclass(frozen=True)
class Coverage:
    """How much of a model a state dict fills.

    Attributes:
        matched: Tensors of the same name and shape.
        total: Tensors of the model.
        missing: Names that only the model has.
        unexpected: Names that only the state dict has.
        mismatched: Names of another shape, to the shapes in the state dict and in the model.
    """

    matched: int
    total: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]

    @property
    def complete(self) -> bool:
        """Whether everything fits, none missing and none left over."""
        return not (self.missing or self.unexpected or self.mismatched)

    @property
    def acceptable(self) -> bool:
        """Whether a load may continue: no tensor of another shape and at least 90 % filled."""
        return not self.mismatched and self.matched >= MIN_MATCHED * self.total

    def describe(self) -> str:
        """What does not fit, in groups; empty if all does."""
        shapes = [
            f'{name} ({_shape(a)} in the file, {_shape(b)} in the model)' for name, (a, b) in self.mismatched.items()
        ]
        several = f' and {len(shapes) - 1} more: {grouped(self.mismatched)}' if len(shapes) > 1 else ''
        missing, unexpected = grouped(self.missing), grouped(self.unexpected)
        parts = {'missing': missing, 'unexpected': unexpected, 'of another shape': ''.join(shapes[:1]) + several}
        return '; '.join(f'{kind}: {names}' for kind, names in parts.items() if names)


def compare(state_dict: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> Coverage:
    """Compare a state dict with a model's own, by names and shapes.

    Example:
        >>> compare({'a': torch.zeros(2), 'b': torch.zeros(3)}, {'a': torch.zeros(2), 'b': torch.zeros(4)}).describe()
        'of another shape: b (3 in the file, 4 in the model)'
    """
    # Old files lack BatchNorm's counter, on which nothing depends: it is as good as there if the running mean is.
    mean_of = {k: k.replace('num_batches_tracked', 'running_mean') for k in model if k.endswith('num_batches_tracked')}
    shared = [k for k in model if k in state_dict or mean_of.get(k) in state_dict]
    present = set(shared)
    shapes = {k: (tuple(state_dict[k].shape), tuple(model[k].shape)) for k in shared if k in state_dict}
    mismatched = {k: pair for k, pair in shapes.items() if pair[0] != pair[1]}
    return Coverage(
        matched=len(shared) - len(mismatched),
        total=len(model),
        missing=tuple(k for k in model if k not in present),
        unexpected=tuple(k for k in state_dict if k not in model),
        mismatched=mismatched,
    )


def load_weights(
    module: nn.Module,
    checkpoint: str,
    *,
    prefix: str | None = None,
    map_location: str = 'cpu',
    strict: bool = True,
    adapt: str | Sequence[str] = (),
    ema: bool = False,
) -> Coverage:
    """Load a weight file of any published layout into a backbone.

    Args:
        module: A ``VAN_LSKA``.
        checkpoint: A path, a URL, or 'mmlska://NAME' with a name from the manifest.
        prefix: Take only the names that begin so; by default found out.
        map_location: Accepted because MMEngine's 'Pretrained' has it; files are read on the CPU and copied to where the model is.
        strict: Refuse a file that fills less than 90 % of the model or holds tensors of another shape. False loads what fits.
        adapt: What may be changed to make it fit: 'k_size', 'rank1', 'in_channels'; see :func:`mmlska.weights.adapt_weights`.
        ema: Take the averaged weights of a file that has both.

    Returns:
        How much was loaded; logged in one line as well.

    Raises:
        MissingCheckpoint: If there is no such file.
        WeightsError: If the file can't be read or does not fit.
    """
    file = read_location(checkpoint)
    source = f'{file.path} (sha256 {file.sha256[:16]})'
    try:
        parsed = parse(file.content, prefix=prefix, ema=ema)
        check_finite(parsed.tensors, 'the file')
    except WeightsError as error:
        raise WeightsError(f'{file.path}: {error}') from error
    own = module.state_dict()
    tensors, notes = adapt_weights(parsed.tensors, own, (adapt,) if isinstance(adapt, str) else adapt)
    for note in notes:
        log(f'{type(module).__name__}: {note}')

    coverage = compare(tensors, own)
    if strict and not coverage.acceptable:
        raise WeightsError(_refusal(coverage, own, source, inspect_parsed(parsed)))
    with torch.no_grad():
        for name, tensor in tensors.items():
            if name in own and name not in coverage.mismatched:
                own[name].copy_(tensor)  # into the storage of the module's own tensors
    _log(module, coverage, f'{layout_text(parsed.layout)}, from {source}')
    return coverage


def adopt_state_dict(
    module: nn.Module, state_dict: MutableMapping[str, Tensor], prefix: str, unexpected: Sequence[str] = ()
) -> None:
    """Bring what is about to be loaded into a backbone, alone or in a whole model, to its names; refuse what does not fit.

    Neither torch nor MMEngine says here whether the load is strict. So a state dict without any tensor of the backbone is
    let pass with a warning, unless it is a backbone's own; one that fits in part is refused. :func:`load_weights` can insist.

    Args:
        state_dict: What ``load_state_dict`` passes on; changed in place where its names are foreign.
        prefix: Of the backbone's names in it.
        unexpected: Names that modules around the backbone could not place.

    Raises:
        WeightsError: If names can't be placed, a tensor has another shape, less than 90 % of the model would be filled, or the
            weights of a bare backbone are loaded into a whole model.
    """
    own = module.state_dict()
    if not all(isinstance(name, str) for name in state_dict):
        raise WeightsError('the state dict has names that are no text; give a dict of names to tensors')
    given = {name[len(prefix) :]: value for name, value in state_dict.items() if name.startswith(prefix)}
    if not given:
        _check_nothing_given(module, prefix, unexpected)
        return
    kinds = (own[n].is_floating_point() == v.is_floating_point() for n, v in given.items() if n in own)
    if all(isinstance(v, Tensor) for v in given.values()) and all(kinds) and compare(given, own).complete:
        return  # our own checkpoints: nothing to do, nothing to say
    where = prefix.rstrip('.') or 'the state dict'
    try:
        parsed = parse(given)
    except WeightsError as error:
        raise WeightsError(f'{where}: {error}') from error
    coverage = compare(parsed.tensors, own)
    if not coverage.acceptable:
        raise WeightsError(_refusal(coverage, own, where, inspect_parsed(parsed)))
    for name in given:
        del state_dict[prefix + name]
    state_dict.update({prefix + name: tensor for name, tensor in parsed.tensors.items()})
    _log(module, coverage, f'{layout_text(parsed.layout)}, from {where}')


def _check_nothing_given(module: nn.Module, prefix: str, unexpected: Sequence[str]) -> None:
    missing = f'no tensor of the checkpoint begins with {prefix!r}'
    if any(rename(name) for name in unexpected):
        raise WeightsError(
            f'{missing}: it holds a backbone alone; load it into the backbone, '
            f"by init_cfg=dict(type='Pretrained', checkpoint=...) of the backbone instead of load_from"
        )
    log(f'{type(module).__name__}: {missing}, it stays as it is', logging.WARNING)


def read_location(checkpoint: str | os.PathLike) -> CheckpointFile:
    """Read a path, a URL or 'mmlska://NAME'; its SHA-256 is checked as far as it is known.

    Raises: see :func:`load_weights`.
    """
    checkpoint = str(checkpoint)
    if checkpoint.startswith(MANIFEST_SCHEME):
        return read_published(checkpoint.removeprefix(MANIFEST_SCHEME))
    return read_fetched(checkpoint)


def _log(module: nn.Module, coverage: Coverage, source: str) -> None:
    rest = '' if coverage.complete else f'; {coverage.describe()}'
    level = logging.INFO if coverage.complete else logging.WARNING
    log(f'{type(module).__name__}: {coverage.matched}/{coverage.total} tensors loaded, {source}{rest}', level)


def _refusal(coverage: Coverage, own: Mapping[str, Tensor], source: str, held: WeightsInfo) -> str:
    """Why weights don't fit and what to do about it, in one line."""
    wanted = inspect_state_dict(own)
    pairs = {k: (getattr(held, k), getattr(wanted, k)) for k in ('arch', 'attention', 'k_size', 'in_channels')}
    differing = {k: pair for k, pair in pairs.items() if pair[0] != pair[1]}
    if differing:
        holds, needs = (', '.join(f'{k} {pair[i]}' for k, pair in differing.items()) for i in (0, 1))
        why = f'the file holds {holds}; the model is {needs}'
    else:
        why = 'architecture and kernel size agree, but tensors are missing or changed'
    ways = ['set the model to what the file holds'] if differing else ['check the file']
    helps = [_adaptation(k, *pair) for k, pair in differing.items()]
    if helps and all(helps):
        ways.append(f'allow the change by adapt={helps!r} in init_cfg')
    ways.append('insist by strict=False in init_cfg')
    fits = f'{coverage.matched} of {coverage.total} tensors fit from {source}'
    return f'{fits}: {why}; {", or ".join(ways)} ({coverage.describe()})'


def _adaptation(fact: str, held: object, wanted: object) -> str:
    """The entry of ``adapt`` that bridges a difference, or ''."""
    if fact == 'attention':
        return 'rank1' if (held, wanted) in (('lka', 'lska'), ('lka_trivial', 'lska_trivial')) else ''
    return fact if fact in ADAPTATIONS else ''


def _shape(shape: tuple[int, ...]) -> str:
    return 'x'.join(map(str, shape)) or 'scalar'
