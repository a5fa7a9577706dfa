"""Which classes the values or colours of masks stand for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..colors import distinct_colors, pack_rgb, unpack_rgb
from ..engine.ignored_label import IGNORED
from ..text import counted
from .class_files import NamedClass
from .label_builder import UNNAMED
from .label_drawing import BACKGROUND
from .mask_edges import edge_values
from .mask_files import Labels, MaskPair, seen_as
from .mask_numbers import has_gaps, meant_by
from .mask_objects import OBJECT_IDS, OBJECTS_READ, has_object_ids
from .mask_white import join_white
from .palettes import is_no_label, spelling

# A colour with less than this share of all pixels, and of those of every mask, is a slip or an edge blurred by a resize.
_RARE, _RARE_IN_MASK = 1e-3, 5e-3
_BLUR = 16  # by which JPEG changes a channel


def understand(
    pairs: Sequence[MaskPair], named: Sequence[NamedClass] | None, *, asked: bool, objects: bool = False
) -> Labels:
    """Find out which classes the masks hold.

    Args:
        pairs: Pairs that went through :func:`mmlska.own_data.mask_files.scan_one`.
        named: Classes of a palette or of ``classes.json``; None to go by the masks alone.
        asked: Whether the user named that palette: then colours that are not in it are left unlabelled.
        objects: Single objects are wanted: values that are ids of objects are no classes.

    Raises:
        ValueError: If masks and names do not fit or the masks are photos.
    """
    notes = join_white(pairs) if not named or named[0].color is None else []
    if named:
        named, said = meant_by(named, pairs)
        notes += said
    ids = not named and has_object_ids(pairs)
    if ids and objects:
        return Labels([UNNAMED], [], distinct_colors(1), True, notes=[OBJECTS_READ], ids=True)
    try:
        labels = _understand(pairs, named, asked)
    except ValueError as error:
        if ids:
            raise ValueError(OBJECT_IDS) from error
        raise
    labels.notes = [*notes, *([OBJECT_IDS] if ids else []), *labels.notes]
    if objects and not named and labels.plain and labels.values[0] == 0 and labels.classes[0] != BACKGROUND:
        labels.classes[0] = BACKGROUND
        labels.notes.append('0 in the masks is taken for background, not for objects; a classes.json names what it is')
    return labels


def _understand(pairs: Sequence[MaskPair], named: Sequence[NamedClass] | None, asked: bool) -> Labels:
    indexed = all(pair.indexed for pair in pairs)
    values, colors, largest = Counter(), Counter(), Counter()
    for pair in pairs:
        if indexed:
            values.update(pair.values)
        pixels = sum(pair.values.values())
        for color, count in seen_as(pair, False).items():
            colors[color] += count
            largest[color] = max(largest[color], count / pixels)
    floor = _RARE * sum(colors.values())
    common = [c for c, n in colors.items() if len(colors) == 2 or n >= floor or largest[c] >= _RARE_IN_MASK]
    by_color = bool(named) and named[0].color is not None
    sure = by_color and has_gaps(named)  # the file says which values the masks hold, and so all that is to be learned
    edges, notes = _edges(pairs, set(values) if indexed else set(common), named, asked)
    if edges:
        shown = {pair.shown[edge] for pair in pairs for edge in edges & pair.shown.keys()} if indexed else edges
        values, colors = (
            Counter({v: n for v, n in found.items() if v not in gone})
            for found, gone in ((values, edges), (colors, shown))
        )
        common = [color for color in common if color not in shown]
    if indexed and not (by_color and (sure or _share(colors, named) > _share_of_indices(values, named))):
        labels = _by_index(pairs, values, named)
        if labels is not None:
            labels.notes += notes
            labels = _only(labels, pairs, [i for i, v in enumerate(labels.values) if not edges or values[v]])
            return _without_unlabeled(labels, pairs, named)
    deep = next((pair for pair in pairs if pair.deep), None)
    if deep:
        kind = 'floats' if deep.floats else '16 bits'
        raise ValueError(f'masks of {kind} such as {deep.mask} must hold classes 0, 1, 2, ...; save them with 8 bits')
    lossy = next((pair.mask for pair in pairs if pair.lossy), None)
    if lossy and not asked and (any(_is_blurred(color, common) for color in common)):
        raise ValueError(
            f'masks such as {lossy} are JPEG files, in which classes are blurred to {len(colors)} colours; save them as PNG where '
            f'they come from, or give --palette with the colours of the classes'
        )
    labels = _by_color(colors, common, named or None, asked or sure)
    labels.notes = [*notes, *labels.notes]
    return labels


def _edges(
    pairs: Sequence[MaskPair], values: set[int], named: Sequence[NamedClass] | None, asked: bool
) -> tuple[set[int], list[str]]:
    """The values, or colours, that interpolation left between classes and that nothing names, and what to say of them."""
    colors = {int(pack_rgb(one.color)) for one in named or () if one.color is not None}
    if asked and colors:  # all that are not in the palette are unlabelled
        return set(), []
    edges = {edge for edge in edge_values(pairs, values) if all(p.shown.get(edge, edge) not in colors for p in pairs)}
    if not edges:
        return edges, []
    indexed = all(pair.indexed for pair in pairs)
    pixels = sum(seen_as(pair, indexed).get(edge, 0) for pair in pairs for edge in edges)
    share = pixels / sum(sum(pair.values.values()) for pair in pairs)
    where = next(pair.mask.name for pair in pairs if edges & seen_as(pair, indexed).keys())
    what = [str(edge) if indexed else f'#{edge:06x}' for edge in sorted(edges)]
    values = ', '.join(what[:2]) + (', ...' if len(what) > 2 else '')
    seams = f'masks resized with interpolation: {values} lie only between other classes'
    if named and not colors and max(edges) <= len(named):
        return set(), [f'{seams} and are classes, as they have names ({share:.1%} of all pixels, as in {where})']
    remedy = f'resize with nearest neighbour, or name them (--palette), as in {where}'
    return edges, [f'{seams} and are unlabelled ({share:.1%} of all pixels); {remedy}']


def _is_blurred(color: int, others: Sequence[int]) -> bool:
    """Whether a colour is nearly another one."""
    mine = unpack_rgb(color)
    return any(max(abs(a - b) for a, b in zip(mine, unpack_rgb(other))) <= _BLUR for other in others if other != color)


def _share(colors: Counter, named: Sequence[NamedClass]) -> float:
    return sum(colors[int(pack_rgb(c.color))] for c in named) / max(sum(colors.values()), 1)


def _share_of_indices(values: Counter, named: Sequence[NamedClass]) -> float:
    return sum(n for v, n in values.items() if v < len(named)) / max(sum(values.values()), 1)


def _by_index(pairs: Sequence[MaskPair], values: Counter, named: Sequence[NamedClass] | None) -> Labels | None:
    """Read the values as class indices; None where they have gaps too large for that, such as 0 and 255."""
    found = sorted(v for v in values if v != IGNORED)
    odd = [value for value in found if not 0 <= value <= IGNORED]
    if odd:
        worst = next(pair for pair in pairs if odd[-1] in pair.values)
        raise ValueError(f'mask {worst.mask} holds the value {odd[-1]}; masks are read in 8 bits: use classes 0 to 254')
    if not found or (found == [0] and IGNORED in values):
        return None
    top = found[-1]
    names = [c.name for c in named] if named else None
    reduce_zero = names is None and found[0] == 1 or names is not None and top == len(names)
    if named and named[0].number is not None:  # the file says what the values mean
        reduce_zero = named[0].number == 1
    count = len(names) if names else top + (not reduce_zero)
    if names and top >= count + reduce_zero:
        worst = next(pair for pair in pairs if top in pair.values)
        raise ValueError(
            f'mask {worst.mask} holds the value {top} but there are {count} class names, for 0 to {count - 1} ({IGNORED} is '
            f'unlabelled); add the missing names or see mmlska check'
        )
    if top >= IGNORED or (names is None and count > max(2 * len(found), 8)):
        return None
    names = names or (
        ['background', 'foreground'] if count == 2 else [f'class_{i + reduce_zero}' for i in range(count)]
    )
    shown = {v: c for pair in pairs for v, c in pair.shown.items()}
    palette = [unpack_rgb(shown[i + reduce_zero]) if i + reduce_zero in shown else None for i in range(count)]
    gray = all(c is None or c == [i + reduce_zero] * 3 for i, c in enumerate(palette))
    fill = distinct_colors(count)
    palette = [fill[i] if gray or c is None else c for i, c in enumerate(palette)]
    notes = ['0 in the masks is unlabelled and class 1 the first one'] if reduce_zero else []
    notes += _slips(pairs, values) if not named else []
    return _enough(Labels(names, [i + reduce_zero for i in range(count)], palette, True, reduce_zero, notes=notes))


def _slips(pairs: Sequence[MaskPair], values: Counter) -> list[str]:
    """What to say of values so rare that they may be slips of the brush: without names they are classes all the same."""
    notes = []
    for value in sorted(values.keys() - {IGNORED}):
        shares = {p.mask.name: p.values[value] / sum(p.values.values()) for p in pairs if value in p.values}
        if values[value] < _RARE * values.total() and max(shares.values()) < _RARE_IN_MASK:
            where = max(shares, key=shares.get)
            notes.append(
                f'the value {value} has {counted(values[value], "pixel")} in {len(shares)} of {len(pairs)} masks, such as {where}, and '
                'is a class; paint it over if it is a slip'
            )
    return notes


def _without_unlabeled(labels: Labels, pairs: Sequence[MaskPair], named: Sequence[NamedClass] | None) -> Labels:
    """Leave out the classes that are called 'unlabeled' or the like."""
    return _only(labels, pairs, [i for i, c in enumerate(named) if not is_no_label(c.name)]) if named else labels


def _only(labels: Labels, pairs: Sequence[MaskPair], kept: list[int]) -> Labels:
    """Leave out all other classes, by reading the masks by their colours; all stay where these do not tell them apart."""
    if len(kept) == len(labels.classes):
        return labels
    shown: dict[int, set[int]] = {}
    for pair in pairs:
        for value, color in pair.shown.items():
            shown.setdefault(value, set()).add(color)
    colors = [next(iter(shown.get(labels.values[i], {labels.values[i] * 0x010101}))) for i in kept]
    if len(set(colors)) < len(colors) or any(len(c) > 1 for c in shown.values()):
        return labels
    names, palette = [labels.classes[i] for i in kept], [labels.palette[i] for i in kept]
    return _enough(Labels(names, colors, palette, False, notes=labels.notes))


def _by_color(colors: Counter, common: list[int], named: Sequence[NamedClass] | None, asked: bool) -> Labels:
    total = sum(colors.values())
    known = {int(pack_rgb(c.color)): c for c in named} if named and named[0].color else {}
    notes = []
    if named and not known:
        if len(common) != len(named):
            raise ValueError(
                f'the masks hold {len(common)} colours and {len(named)} class names come without colours; '
                f'give --palette a file with {{"name": [r, g, b], ...}}'
            )
        known = dict(zip(sorted(common), named))
        if len(known) > 2 and any(len(set(unpack_rgb(color))) > 1 for color in known):
            order = ', '.join(f'{one.name} {unpack_rgb(color)}' for color, one in list(known.items())[:4])
            notes.append(
                f'the class names come without colours, and are given to those of the masks in order: {order}; give --palette if that '
                f'is wrong'
            )
    covered = sum(colors[value] for value in known) / total
    if asked and not covered:
        seen = ', '.join(f'{unpack_rgb(c)}' for c, _ in colors.most_common(4))
        raise ValueError(f'no pixel of the masks has a colour of the palette; they hold {seen}; write these into it')
    strangers = sorted(c for c in common if c not in known)
    if not asked and sum(colors[c] for c in {*common, *known}) < 0.9 * total:
        raise ValueError(
            f'the masks hold {len(colors)} colours: they are photos, or saved as JPEG; save them as PNG, or give --palette'
        )
    classes = [(c.name, value) for value, c in known.items() if not is_no_label(c.name) and (asked or colors[value])]
    if not asked and strangers:
        if known and strangers == [0]:
            notes.append('black is no colour of the class file, and is taken for background')
        elif known:
            notes.append(
                f'the class file names the colours of {covered:.0%} of the mask pixels only: the other colours are classes '
                f'named by their code; give them names with --palette'
            )
        is_new = known and all(spelling(name) != BACKGROUND for name, _ in classes)
        classes = [
            *((BACKGROUND, value) for value in strangers if is_new and not value),
            *classes,
            *((f'#{value:06x}', value) for value in strangers if value or not is_new),
        ]
    elif strangers and len(classes) == 1:
        value = max(strangers, key=colors.__getitem__)
        classes.insert(0, ('background', value))
        notes.append(f'the colour {unpack_rgb(value)} is taken for background')
    elif covered < 1:
        notes.append(f'{1 - covered:.2%} of the mask pixels have a colour that is not in the palette: unlabelled')
    if not known and len(classes) == 2 and classes[0][1] == 0:  # black and something else
        classes = [('background', 0), ('foreground', classes[1][1])]
    palette = [unpack_rgb(value) for _, value in classes]
    return _enough(Labels([name for name, _ in classes], [v for _, v in classes], palette, False, notes=notes))


def _enough(labels: Labels) -> Labels:
    if len(labels.classes) < 2:
        raise ValueError(
            f'the masks hold one class, {labels.classes}, and no other: segmentation needs two, such as background and object'
        )
    return labels
