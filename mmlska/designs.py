"""Facts about VAN-LSKA that the whole package reads: attention designs, kernel sizes, architectures, and what they cost by formula.

A new attention design is a row of :data:`DESIGNS` here and a class in :mod:`mmlska.models.attention`; a new architecture is a row of
:data:`ARCHS`. Nothing of the package is imported here, so that every part may read it.

Papers: Large Separable Kernel Attention, arXiv 2309.01439 (LSKA); Visual Attention Network, arXiv 2202.09741 (VAN).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple


class KernelLadder(NamedTuple):
    """How a kernel of extent ``k_size`` is made of a dense and a dilated depthwise kernel."""

    first: int
    dilated: int
    dilation: int


def kernel_ladder(k_size: int) -> KernelLadder:
    """Split a large kernel into a dense first and a dilated second kernel.

    Args:
        k_size: Extent of the whole kernel in pixels: 7, 11, 23, 35, 41, 53 in the paper; every value of the same pattern works.

    Raises:
        TypeError: If ``k_size`` is not an int.
        ValueError: If ``k_size`` cannot be made by the pattern; the message lists the nearest ones that can.

    Source: LSKA paper, section 3.2; ``d = 2`` up to 11 and 3 above, first kernel ``2d - 1``, dilated kernel ``k_size // d``.

    Example:
        >>> kernel_ladder(23)
        KernelLadder(first=5, dilated=7, dilation=3)
        >>> kernel_ladder(24)
        Traceback (most recent call last):
            ...
        ValueError: k_size=24 cannot be split into a dense and a dilated kernel; the nearest that can are 17, 23, 29, 35
    """
    check_int('k_size', k_size)
    ladder = _split(k_size)
    if ladder is None:
        nearest = _nearest(k_size, lambda k: _split(k) is not None)
        raise ValueError(
            f'k_size={k_size} cannot be split into a dense and a dilated kernel; the nearest that can are {nearest}'
        )
    return ladder


def ladder_sizes(limit: int = 121) -> list[int]:
    """The kernel sizes from 7 to ``limit`` that split into a dense and a dilated kernel.

    Example:
        >>> ladder_sizes(41)
        [7, 11, 17, 23, 29, 35, 41]
    """
    return [k for k in range(7, limit + 1) if _split(k) is not None]


def _split(k_size: int) -> KernelLadder | None:
    dilation = 2 if k_size <= 11 else 3
    first, dilated = 2 * dilation - 1, k_size // dilation
    fits = dilated >= 1 and dilated % 2 == 1 and k_size == first + (dilated - 1) * dilation
    return KernelLadder(first, dilated, dilation) if fits else None


def _odd_kernel(k_size: int) -> int:
    """The trivial designs use the kernel in one piece: any odd extent keeps the size of the map."""
    check_int('k_size', k_size)
    if k_size < 1 or k_size % 2 == 0:
        nearest = _nearest(k_size, lambda k: k % 2 == 1)
        raise ValueError(f'k_size={k_size} must be odd and positive; the nearest that are: {nearest}')
    return k_size


def _nearest(k_size: int, valid: Callable[[int], bool]) -> str:
    """The two valid sizes on each side, in words for an error message."""
    below = [k for k in range(max(k_size - 40, 1), k_size) if valid(k)][-2:]
    start = max(k_size, 0) + 1
    above = [k for k in range(start, start + 40) if valid(k)][:2]
    return ', '.join(map(str, below + above))


def check_int(name: str, value: int) -> None:
    """Raise TypeError if an argument is no int."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f'{name} must be an int, got {value!r} of type {type(value).__name__}')


class Kernel(NamedTuple):
    """The kernel of a depthwise convolution: the convolution's name, rows and columns in taps, and the dilation."""

    name: str
    taps: tuple[int, int]
    dilation: int


class Depthwise(NamedTuple):
    """A depthwise convolution of a design.

    Attributes:
        name: As in published detection and segmentation checkpoints.
        form: Of the kernel: 'row' (1 x n), 'column' (n x 1) or 'square' (n x n).
        dilated: Whether it is the dilated kernel of the ladder.
    """

    name: str
    form: str
    dilated: bool = False


#: The attention designs by the names that ``VAN_LSKA(attention=...)`` takes: depthwise convolutions one after the other, which a 1x1 and
#: the product with the input follow. LSKA paper, figure 2 (d), (c), (b), (a).
DESIGNS: dict[str, tuple[Depthwise, ...]] = {
    'lska': (
        Depthwise('DW_conv_h', 'row'),
        Depthwise('DW_conv_v', 'column'),
        Depthwise('DW_D_conv_h', 'row', dilated=True),
        Depthwise('DW_D_conv_v', 'column', dilated=True),
    ),
    'lka': (Depthwise('DW_conv', 'square'), Depthwise('DW_D_conv', 'square', dilated=True)),
    'lska_trivial': (Depthwise('DW_conv_h', 'row'), Depthwise('DW_conv_v', 'column')),
    'lka_trivial': (Depthwise('DW_conv', 'square'),),
}


def design_kernels(attention: str, k_size: int) -> list[Kernel]:
    """The kernels of a design in order: those of the ladder, or where nothing is dilated the whole kernel in each.

    Raises:
        TypeError: If ``k_size`` is not an int.
        ValueError: If there is no such design, or it has no such kernel; the message lists what there is.

    Example:
        >>> design_kernels('lka', 23)
        [Kernel(name='DW_conv', taps=(5, 5), dilation=1), Kernel(name='DW_D_conv', taps=(7, 7), dilation=3)]
    """
    if attention not in tuple(DESIGNS):  # a config may hold what no dict takes as a key
        raise ValueError(f'attention={attention!r} is unknown; choose one of {", ".join(map(repr, DESIGNS))}')
    if any(convolution.dilated for convolution in DESIGNS[attention]):
        first, second, dilation = kernel_ladder(k_size)
    else:
        first, second, dilation = _odd_kernel(k_size), 1, 1
    kernels = []
    for name, form, dilated in DESIGNS[attention]:
        n = second if dilated else first
        taps = dict(row=(1, n), column=(n, 1), square=(n, n))[form]
        kernels.append(Kernel(name, taps, dilation if dilated else 1))
    return kernels


# VAN paper, table 2: channels, blocks and MLP expansion of the four stages.
_FFN_RATIOS = [8, 8, 4, 4]
#: The architectures by the names that ``VAN_LSKA(arch=...)`` takes.
ARCHS: dict[str, dict[str, list[int]]] = {
    't': dict(embed_dims=[32, 64, 160, 256], depths=[3, 3, 5, 2], ffn_ratios=_FFN_RATIOS),
    's': dict(embed_dims=[64, 128, 320, 512], depths=[2, 2, 4, 2], ffn_ratios=_FFN_RATIOS),
    'b': dict(embed_dims=[64, 128, 320, 512], depths=[3, 3, 12, 3], ffn_ratios=_FFN_RATIOS),
    'l': dict(embed_dims=[64, 128, 320, 512], depths=[3, 5, 27, 3], ffn_ratios=_FFN_RATIOS),
}
#: Other names of the architectures: in words, and as VAN-B0 to VAN-B3.
OTHER_ARCHS = {'tiny': 't', 'small': 's', 'base': 'b', 'large': 'l', 'b0': 't', 'b1': 's', 'b2': 'b', 'b3': 'l'}


def recognise_design(lengths: Mapping[str, Collection[int]]) -> tuple[str | None, int | None]:
    """Tell a design and its kernel size from its depthwise convolutions.

    Args:
        lengths: Names of convolutions, to the lengths of their kernels in taps in all blocks.

    Returns:
        The names of the design and its kernel size in pixels; None for what the lengths do not tell.

    Example:
        >>> recognise_design({'DW_conv': {5}, 'DW_D_conv': {7}})
        ('lka', 23)
        >>> recognise_design({'DW_conv': {5}, 'DW_D_conv': {7, 9}})
        ('lka', None)
    """
    names = {frozenset(convolution.name for convolution in row): name for name, row in DESIGNS.items()}
    attention = names.get(frozenset(lengths))
    if attention is None:
        return None, None
    dense, dilated = set(), set()
    for convolution in DESIGNS[attention]:
        (dilated if convolution.dilated else dense).update(lengths[convolution.name])
    if len(dense) != 1 or len(dilated) > 1:
        return attention, None
    first, second = dense.pop(), dilated.pop() if dilated else 1
    k_size = first + (second - 1) * ((first + 1) // 2)  # the dilation of the ladder is (first + 1) / 2
    try:
        fits = all(max(kernel.taps) in lengths[kernel.name] for kernel in design_kernels(attention, k_size))
    except ValueError:
        fits = False
    return attention, k_size if fits else None


def arch_settings(arch: str | dict) -> dict[str, list]:
    """The lists ``embed_dims``, ``depths`` and ``ffn_ratios`` of an architecture, one entry for each stage.

    Args:
        arch: One of :data:`ARCHS` or :data:`OTHER_ARCHS`, with 'van_' before it or not, or a dict with the lists.

    Raises:
        TypeError: If ``arch`` is neither str nor dict, or the dict has something else than lists.
        ValueError: If the name is unknown, or the dict has other keys, lists of different lengths or impossible numbers.
    """
    if isinstance(arch, str):
        name = arch.lower().replace('-', '_').removeprefix('van_')
        key = OTHER_ARCHS.get(name, name)
        if key not in ARCHS:
            allowed = ', '.join(map(repr, [*ARCHS, *OTHER_ARCHS]))
            raise ValueError(f'arch={arch!r} is unknown; choose one of {allowed}, or give a dict')
        return {name: list(values) for name, values in ARCHS[key].items()}
    if not isinstance(arch, dict):
        raise TypeError(f'arch must be a str or a dict, got {arch!r} of type {type(arch).__name__}')
    keys = ('embed_dims', 'depths', 'ffn_ratios')
    if set(arch) != set(keys):
        if 'mlp_ratios' in arch:
            raise ValueError('arch dict has the key mlp_ratios, which is ffn_ratios here; rename it')
        raise ValueError(f'arch dict has the keys {sorted(arch)}; it needs exactly {", ".join(keys)}')
    for key in keys:
        if not isinstance(arch[key], (list, tuple)):
            raise TypeError(f'arch dict has {key}={arch[key]!r}; give a list with one entry for each stage')
    lengths = {k: len(arch[k]) for k in keys}
    if len(set(lengths.values())) != 1 or lengths['depths'] == 0:
        raise ValueError(f'arch dict has lists of lengths {lengths}; they need one entry for each stage')
    for key, least in (('embed_dims', 1), ('depths', 0)):
        if not all(type(value) is int and value >= least for value in arch[key]):
            raise ValueError(f'arch dict has {key}={list(arch[key])}; use whole numbers of {least} or more')
    for dims, ratio in zip(arch['embed_dims'], arch['ffn_ratios']):
        if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 1 <= dims * ratio < float('inf'):
            raise ValueError(
                f'arch dict has ffn_ratios={list(arch["ffn_ratios"])}; use positive numbers, such as 8 and 4'
            )
    return {k: list(arch[k]) for k in keys}


class ClosedForm(NamedTuple):
    """Parameters and multiply-adds by formula; multiply-adds of convolutions alone, without biases, norms and additions."""

    parameters: int
    flops: int


def attention_cost(attention: str, dim: int, k_size: int, height: int, width: int) -> ClosedForm:
    """Parameters and multiply-adds of one attention module on a map of height x width.

    Raises:
        ValueError: If the design is unknown or has no such kernel.

    Source: LSKA paper, section 3.3.

    Example:
        >>> attention_cost('lska', 64, 23, 56, 56)
        ClosedForm(parameters=5952, flops=17661952)
    """
    kernels = design_kernels(attention, k_size)
    taps = sum(rows * columns for _, (rows, columns), _ in kernels)
    parameters = dim * (taps + len(kernels)) + dim * dim + dim
    return ClosedForm(parameters, height * width * (dim * taps + dim * dim))


def van_cost(arch: str | dict, attention: str, k_size: int, height: int, width: int) -> ClosedForm:
    """Parameters and multiply-adds of a VAN_LSKA on an image of height x width, summed over its layers by formula."""
    settings = arch_settings(arch)
    parameters = flops = 0
    channels, kernel, stride = 3, 7, 4
    for dim, depth, ratio in zip(settings['embed_dims'], settings['depths'], settings['ffn_ratios']):
        height, width = -(-height // stride), -(-width // stride)
        pixels, hidden = height * width, dim * ratio
        attend = attention_cost(attention, dim, k_size, height, width)
        projections, mlp = 2 * dim * dim, 2 * dim * hidden + 9 * hidden
        # biases of both projections and of the MLP; two BatchNorms, two layer scales
        extras = 2 * dim + (2 * hidden + dim) + 4 * dim + 2 * dim
        parameters += channels * dim * kernel**2 + dim + 2 * dim  # patch embedding and its BatchNorm
        parameters += depth * (projections + mlp + extras + attend.parameters) + 2 * dim  # blocks, then a LayerNorm
        flops += pixels * channels * dim * kernel**2 + depth * (pixels * (projections + mlp) + attend.flops)
        channels, kernel, stride = dim, 3, 2
    return ClosedForm(parameters, flops)
