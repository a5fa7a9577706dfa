"""How a YAML row with LSKA in it becomes the arguments of its module: what Ultralytics' parser does for its own blocks."""

from __future__ import annotations

from inspect import signature
from typing import Any, NamedTuple

from ultralytics.nn.modules import SPPF, Bottleneck, C2f, C3k2
from ultralytics.nn.modules.block import C2PSA
from ultralytics.utils.ops import make_divisible

from ..models.attention import LSKA
from .modules import C2PSA_LSKA, DEFAULT_K_SIZE, SPPF_LSKA, C2f_LSKA, C3k2_LSKA, LSKABottleneck

#: The modules that a row may name.
ROWS = {m.__name__: m for m in (LSKA, SPPF_LSKA, C2f_LSKA, C3k2_LSKA, C2PSA_LSKA, LSKABottleneck)}
#: The stock block that each is made of.
TWINS = {SPPF_LSKA: SPPF, C2f_LSKA: C2f, C3k2_LSKA: C3k2, C2PSA_LSKA: C2PSA, LSKABottleneck: Bottleneck}
_REPEATED = (C2f_LSKA, C3k2_LSKA, C2PSA_LSKA)


class Scaling(NamedTuple):
    """What the parser knows of the model's scale."""

    width: float
    max_channels: float
    scale: str | None

    def channels(self, written: int) -> int:
        """The channels of a row as the parser scales them."""
        return make_divisible(min(written, self.max_channels) * self.width, 8)


class Row(NamedTuple):
    """A row ready to build."""

    args: list[Any]
    channels: int
    repeats: int
    legacy: bool


def channels_before(module: type, channels: list[int], source: int | list[int]) -> int:
    """The channels of the layer that a row reads.

    Args:
        module: One of :data:`ROWS`.
        channels: Those of the layers before the row.
        source: What the row says of the layer, its first entry.

    Raises:
        ValueError: If it names several layers, or none.
    """
    if type(source) is not int:
        raise ValueError(
            f'{module.__name__} row that reads from {source}: it takes one layer, such as -1; join several with a Concat row before it'
        )
    if not -len(channels) <= source < len(channels):
        raise ValueError(f'{module.__name__} row that reads from {source}: there are {len(channels)} layers before it')
    return channels[source]


def read_row(module: type, args: list[Any], c1: int, repeats: int, legacy: bool, scaling: Scaling) -> Row:
    """Turn the arguments of a row into those of its module.

    Args:
        module, args: One of :data:`ROWS`, and what the row gives it.
        c1: Channels of the layer that the row reads.
        repeats: Of the module, scaled by depth.
        legacy: The parser's mark for heads of the older kind.
        scaling: The model's scale.

    Raises:
        ValueError: If a row's arguments do not fit.
    """
    if module is LSKA:
        return Row([c1, _k_size_of(args, c1, scaling)], c1, repeats, legacy)
    if not args:
        raise ValueError(f'a {module.__name__} row needs its channels, such as [-1, 1, {module.__name__}, [512]]')
    if type(args[0]) is not int or args[0] < 1:
        raise ValueError(f'{module.__name__} row with {args} needs its channels first, such as [512]')
    c2 = scaling.channels(args[0])
    _check_order(module, args)
    args = [c1, c2, *args[1:]]
    if module in _REPEATED:
        args.insert(2, repeats)
        repeats = 1
    if module is C3k2_LSKA:
        legacy = False
        if scaling.scale in {'m', 'l', 'x'}:
            args[3:4] = [True]
    return Row(args, c2, repeats, legacy)


def _check_order(module: type, args: list[Any]) -> None:
    """Raise ValueError where the arguments of a row are not in the order of its module: LSKA's kernel comes last."""
    ignored = 3 if module in _REPEATED else 2  # c1, c2 and the repeats, which the parser gives
    parameters = list(signature(module).parameters.values())[ignored:]
    names, given = [p.name for p in parameters], args[1:]
    wrong = next((f'{name}={value!r}' for name, value in zip(names, given) if not _fits(name, value)), None)
    if wrong is None and len(given) > len(names):
        wrong = f'{len(given) - len(names)} too many'
    if wrong is None:
        return
    last = next((value for value in reversed(given) if type(value) is int and value > 5), DEFAULT_K_SIZE)
    sound = [value if _fits(p.name, value) else p.default for p, value in zip(parameters, given)]
    sound += [p.default for p in parameters[len(sound) :]]
    # A list, as YAML has no tuples; the kernel is the last argument.
    row = [args[0], *(list(v) if isinstance(v, tuple) else v for v in sound[: len(parameters) - 1]), last]
    raise ValueError(
        f'{module.__name__} row with {args} has {wrong}; the arguments are channels, {", ".join(names)} in this order: with the kernel '
        f'{last} it is {row}'
    )


def _fits(name: str, value: Any) -> bool:
    """Whether a value can be that of an argument; kernels of LSKA are checked by LSKA."""
    if name in ('shortcut', 'c3k', 'attn'):
        return isinstance(value, bool)
    if name == 'e':
        return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 1
    if name == 'n':  # pools of SPPF
        return value is None or type(value) is int and 0 < value <= 5
    if name == 'g':
        return type(value) is int and value > 0 and value & (value - 1) == 0
    return name == 'k' and isinstance(value, (list, tuple)) or type(value) is int and value > 0


def _k_size_of(args: list[Any], c1: int, scaling: Scaling) -> int:
    """The kernel of an LSKA row: [], [k_size], [channels], [channels, k_size] are all in use; kernels are odd, channels even."""
    if not all(isinstance(a, int) and not isinstance(a, bool) for a in args) or len(args) > 2:
        raise ValueError(f'LSKA row with {args}; write [], [k_size] or [channels, k_size], such as [1024, 11]')
    if len(args) == 1 and args[0] % 2:
        return args[0]
    if args and c1 not in (scaling.channels(args[0]), args[0]):
        raise ValueError(
            f'LSKA row with {args} after a layer of {c1} channels: LSKA keeps the channels, {args[0]} scale to '
            f'{scaling.channels(args[0])} in this model; leave them out: [{args[1] if len(args) > 1 else ""}]'
        )
    return args[1] if len(args) > 1 else DEFAULT_K_SIZE
