"""The split of labelled images into training, validation and test: as the folder has it, or by a hash of the names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..text import printable
from .folder import name_hash
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
    chosen = choose_val([labels.classes_in(i) for i in whole], [labels.name_of(i) for i in whole], val_fraction)
    train, val = ([image for i, image in enumerate(whole) if (i in chosen) == held_out] for held_out in (False, True))
    return {'train': train, 'val': val, **others}, f'{val_fraction:g} of them held out by a hash of the names{note}'


def choose_val(classes: Sequence[set[int]], names: Sequence[str], fraction: float) -> set[int]:
    """Choose the images for validation, the same ones for the same names, with every class on both sides where that can be.

    Args:
        classes: The classes in each image.
        names: A name of each image; its hash decides.
        fraction: Share of the images, whose indices are returned.

    Raises:
        ValueError: If the fraction is not between 0 and 1 or there are less than two images.

    Example:
        >>> sorted(choose_val([{0}, {0}, {1}, {1}, {0}], 'abcde', 0.4))
        [3, 4]
    """
    if not 0 < fraction < 1:
        raise ValueError(f'--val-fraction {fraction} is impossible; use a share between 0 and 1, such as 0.2')
    if len(names) < 2:
        raise ValueError(
            f'{len(names)} labelled image is too few to split into training and validation; use at least 2'
        )
    count = min(max(round(len(names) * fraction), 1), len(names) - 1)
    order = sorted(range(len(names)), key=lambda i: name_hash(names[i]))
    left = Counter(item for found in classes for item in found)
    chosen: set[int] = set()
    missing = {item for item, images in left.items() if images > 1}

    def take(index: int) -> None:
        chosen.add(index)
        missing.difference_update(classes[index])
        left.subtract(classes[index])

    while missing and len(chosen) < count:
        spare = [i for i in order if i not in chosen and all(left[item] > 1 for item in classes[i])]
        best = max(spare, key=lambda i: len(missing & classes[i]), default=None)
        if best is None or not missing & classes[best]:
            break
        take(best)
    # A class with a single image stays in training as long as there is another image to take.
    for keep_last in (True, False):
        for i in order:
            if len(chosen) < count and i not in chosen and not (keep_last and any(left[k] < 2 for k in classes[i])):
                take(i)
    return chosen
