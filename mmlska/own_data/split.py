"""The split of labelled images into training, validation and test: as the folder has it, or by a hash of the names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

from ..text import counted, printable
from .folder import name_hash
from .photo_identity import original_name, photo_names
from .sources.source import TrainingLabels


def split_images(labels: TrainingLabels, val_fraction: float) -> tuple[dict[str, list], str]:
    """The images of 'train', 'val' and, where the folder has one, 'test', and how they came about.

    Without validation images in the folder the share ``val_fraction`` is held out; errors as for :func:`choose_val`.
    """
    splits = labels.splits
    name = labels.learned
    whole = splits[name]
    others = {key: splits[key] for key in ('val', 'test') if key in splits and key != name}
    # A file of no split beside one for training may hold the same images.
    rest = splits.get('', []) if name else []
    note = f', {len(rest)} in no split are not used, such as {printable(labels.name_of(rest[0]))}' if rest else ''
    if 'val' in others:
        return {'train': whole, **others}, f'as the folder splits them{note}'
    paths = [labels.path_of(image) for image in whole]
    known = photo_names(paths)
    originals = [original_name(known[path]) for path in paths]
    several = len(originals) - len(set(originals))
    if several:
        count = sum(number > 1 for number in Counter(originals).values())
        note += f'; all versions or copies of one photo are on one side, {count} have several'
    chosen = choose_val(
        [labels.classes_in(i) for i in whole], [labels.name_of(i) for i in whole], val_fraction, originals
    )
    train, val = ([image for i, image in enumerate(whole) if (i in chosen) == held_out] for held_out in (False, True))
    return {'train': train, 'val': val, **others}, f'{val_fraction:g} of them held out by a hash of the names{note}'


def choose_val(
    classes: Sequence[set[int]], names: Sequence[str], fraction: float, photos: Sequence[Hashable] | None = None
) -> set[int]:
    """Choose the images for validation, the same ones for the same names, with every class on both sides where that can be.

    Args:
        classes: The classes in each image.
        names: A name of each image; its hash decides.
        fraction: Share of the images, whose indices are returned.
        photos: What images that have to be on one side have in common; by default each image is a photo of its own.

    Raises:
        ValueError: If the fraction is not between 0 and 1 or there are less than two photos.

    Example:
        >>> sorted(choose_val([{0}, {0}, {1}, {1}, {0}], 'abcde', 0.4))
        [3, 4]
        >>> sorted(choose_val([{0}] * 5, 'abcde', 0.4, photos='xxyzz'))
        [3, 4]
    """
    if not 0 < fraction < 1:
        raise ValueError(f'--val-fraction {fraction} is impossible; use a share between 0 and 1, such as 0.2')
    groups: dict[Hashable, list[int]] = {}
    for place in range(len(names)):
        groups.setdefault(place if photos is None else photos[place], []).append(place)
    # Of several images of a photo the first name counts.
    ranked = [min((name_hash(names[place]), place) for place in group) for group in groups.values()]
    units = [group for _, group in sorted(zip(ranked, groups.values()))]
    if len(units) < 2:
        versions = ', all of them versions of one photo,' if len(names) > 1 else ''
        raise ValueError(
            f'{counted(len(names), "labelled image")}{versions} is too few to split into training and validation; use at least 2 photos'
        )
    found = [set().union(*(classes[place] for place in group)) for group in units]
    wanted = min(max(round(len(names) * fraction), 1), len(names) - 1)
    left = Counter(item for labels in found for item in labels)
    chosen: set[int] = set()
    held_out = 0
    missing = {item for item, photos_of in left.items() if photos_of > 1}

    def take(unit: int) -> None:
        nonlocal held_out
        chosen.add(unit)
        held_out += len(units[unit])
        missing.difference_update(found[unit])
        left.subtract(found[unit])

    def fits(unit: int) -> bool:
        return unit not in chosen and held_out + len(units[unit]) <= wanted

    while missing and held_out < wanted:
        spare = [i for i in range(len(units)) if fits(i) and all(left[item] > 1 for item in found[i])]
        best = max(spare, key=lambda i: len(missing & found[i]), default=None)
        if best is None or not missing & found[best]:
            break
        take(best)
    # A class with a single photo stays in training as long as there is another one to take.
    for keep_last in (True, False):
        for unit in range(len(units)):
            if fits(unit) and not (keep_last and any(left[item] < 2 for item in found[unit])):
                take(unit)
    if not chosen:  # each photo has more images than the share
        take(min(range(len(units)), key=lambda unit: len(units[unit])))
    return {place for unit in chosen for place in units[unit]}
