"""What the names of folders say: to which split their photos belong, and whether they hold masks.

A name alone says too little: ``train`` may be a class beside ``bus`` and ``car``, and ``segmentation_data`` may hold all photos. So the
other folders count too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from .folder import splits_in

#: Folders that say only what kind of files they hold.
KIND_WORD = re.compile(
    r'(jpeg)?images?|imgs?|photos?|pictures?|labels?(txt)?|labelme|anns?|annotations?|xmls?|jsons?|txts?|masks?|hbb|obb'
)
#: How the name of a mask ends, behind that of its photo.
MASK_ENDS = re.compile(r'[_-]((gtFine_)?(labelIds|labelTrainIds|color)|masks?|labels?|gt|seg|segmentation|L|ann)$')
#: How the name of a photo may end where its mask has another end.
IMAGE_ENDS = re.compile(r'[_-](leftImg8bit|image|img|rgb|sat)$')
_MASK_WORD = re.compile(
    'masks?|anns?|annotations?|labels?|labelids|gt|gtfine|groundtruth|seg|segmentations?|segmentationclass'
)
_PHOTO_WORD = re.compile(r'(jpeg)?images?|imgs?|photos?|pictures?|leftimg|rgb')
#: Words for photos that are in no usual split: beside them train is a split.
_PART_WORD = re.compile(
    'query|gallery|predict(ions?)?|preds?|infer(ence)?|submissions?|challenge|devkit|minival|holdout|heldout|extra|unused|'
    'unlabell?ed|labell?ed|unannotated|annotated|supervised|unsupervised'
)
_HOLD_OUT = re.compile('h(o|e)ld[^a-z]*out')
_FEWEST_CLASSES = 2  # names of no split beside train
#: The kind of remark on a folder or file train that was taken for a class.
TRAIN_IS_CLASS = (
    'train is taken for a class as those beside it; if it has the photos to train on, call another one val or test'
)


def are_classes(names: Iterable[str]) -> bool:
    """Whether train among names that stand beside each other is a class: the others are of no split, and no part of a data set.

    ``val`` and ``test`` are never taken for classes: their photos must not be learned by mistake.

    Example:
        >>> are_classes(['bus', 'car', 'train']), are_classes(['bus', 'car', 'train', 'val'])
        (True, False)
        >>> are_classes(['train', 'query', 'gallery'])
        False
    """
    found = {name: splits_in(name) for name in names}
    if set().union(*found.values()) != {'train'}:
        return False
    others = [
        name for name, splits in found.items() if not splits and not _is_kind(name) and 'train' not in name.lower()
    ]
    return len(others) >= _FEWEST_CLASSES and not any(map(_is_part, found))


def splits_of_names(paths: Sequence[Path]) -> dict[Path, str | None]:
    """What :func:`split_of_name` says of each of these files, beside the others."""
    stems: dict[Path, list[str]] = {}
    for path in paths:
        stems.setdefault(path.parent, []).append(path.stem)
    of_classes = {folder for folder, names in stems.items() if are_classes(names)}
    splits = {path: split_of_name(path) for path in paths}
    return {path: None if split == 'train' and path.parent in of_classes else split for path, split in splits.items()}


def split_of_name(path: Path, beside: Iterable[Path] = ()) -> str | None:
    """The split that the name of a file alone speaks of, beside other files of its kind; None for no or several splits.

    Example:
        >>> split_of_name(Path('train.csv')), split_of_name(Path('train.csv'), map(Path, ('bus.csv', 'car.csv')))
        ('train', None)
    """
    found = splits_in(path.stem)
    if len(found) != 1:
        return None
    if found == {'train'} and are_classes([path.stem, *(one.stem for one in beside if one.parent == path.parent)]):
        return None
    return found.pop()


def is_of_photos(name: str) -> bool:
    """Whether the name of a folder says that it holds photos.

    Example:
        >>> is_of_photos('JPEGImages'), is_of_photos('vis')
        (True, False)
    """
    return any(map(_PHOTO_WORD.fullmatch, _words(name)))


def _is_kind(name: str) -> bool:
    return all(map(KIND_WORD.fullmatch, _words(name)))


def _is_part(name: str) -> bool:
    return any(map(_PART_WORD.fullmatch, _words(_HOLD_OUT.sub('holdout', name.lower()))))


def _words(name: str) -> list[str]:
    return re.findall('[a-z]+', name.lower())


class FolderNames:
    """The names of all folders of a data set.

    Args:
        images: The images, below the data folder.
        labels: The files that may hold labels, below it.
    """

    def __init__(self, images: Sequence[Path], labels: Iterable[Path] = ()) -> None:
        self.taken_for_classes: set[Path] = set()  # folders that are called train
        self._images = images
        self._folders = {path.parent for path in images}
        self._splits: dict[Path, str | None] = {}
        self._of_classes: dict[Path, bool] = {}
        self._children: dict[Path, set[str]] = {}
        for place in {*self._folders, *(path.parent for path in labels)}:
            for folder in (place, *place.parents[:-1]):
                self._children.setdefault(folder.parent, set()).add(folder.name)
        self._children.get(Path(), set()).discard('')

    def split_of(self, folder: Path) -> str | None:
        """The split that a folder or else one above it speaks of; None for no or several splits.

        Example:
            >>> FolderNames([]).split_of(Path('train/images')), FolderNames([]).split_of(Path('images'))
            ('train', None)
        """
        if folder not in self._splits:
            named = (place for place in (folder, *folder.parents) if splits_in(place.name))
            place = next((place for place in named if not self._says_no_split(place)), None)
            found = splits_in(place.name) if place else set()
            self._splits[folder] = found.pop() if len(found) == 1 else None
        return self._splits[folder]

    def _says_no_split(self, folder: Path) -> bool:
        """Whether the word is that of a class, or of all photos, whose own folders speak of splits."""
        if splits_in(folder.name) == {'train'} and self._are_classes(folder.parent):
            self.taken_for_classes.add(folder)
            return True
        if folder not in self._around_all:
            return False
        return any(map(splits_in, self._words_below.get(folder, ())))

    def _are_classes(self, folder: Path) -> bool:
        """Whether the folders in a folder are those of classes."""
        if folder not in self._of_classes:
            self._of_classes[folder] = are_classes(self._children.get(folder, ()))
        return self._of_classes[folder]

    @cached_property
    def _around_all(self) -> set[Path]:
        """The folders that hold all images."""
        around: set[Path] | None = None
        for place in self._folders:
            above = {place, *place.parents}
            around = above if around is None else around & above
        return around or set()

    def is_mask(self, path: Path) -> bool:
        """Whether an image looks like a mask by its folders, or by the end of its name beside an image without that end."""
        return self._holds_masks(path.parent) or self._has_mask_end(path)

    def _holds_masks(self, folder: Path) -> bool:
        """Whether a folder is one of masks. None is, where all images would be masks."""
        return folder in self._mask_folders if self._folders else self._speaks_of_masks(folder)

    @cached_property
    def _mask_folders(self) -> set[Path]:
        found = set(filter(self._speaks_of_masks, self._folders))
        return found if len(found) < len(self._folders) else set()

    def _speaks_of_masks(self, folder: Path) -> bool:
        return any(
            any(map(_MASK_WORD.fullmatch, (*_words(place.name), ''.join(_words(place.name)))))
            and not self._holds_photos_too(place)
            for place in (folder, *folder.parents)
        )

    def _holds_photos_too(self, folder: Path) -> bool:
        """Whether a folder such as ``segmentation_data`` holds all images, or folders of photos and of masks."""
        if folder in self._around_all:
            return True
        below = self._words_below.get(folder, set())
        return any(map(_PHOTO_WORD.fullmatch, below)) and any(map(_MASK_WORD.fullmatch, below))

    @cached_property
    def _words_below(self) -> dict[Path, set[str]]:
        """The words in the names of all folders below each one."""
        found: dict[Path, set[str]] = {}
        for place in {ancestor for folder in self._folders for ancestor in (folder, *folder.parents)}:
            for above in place.parents:
                found.setdefault(above, set()).update(_words(place.name))
        return found

    def _has_mask_end(self, path: Path) -> bool:
        bare = MASK_ENDS.sub('', path.stem)
        return bare != path.stem and bare in self._stems and path.stem not in self._mask_stems

    @cached_property
    def _mask_stems(self) -> set[str]:
        """The names in folders of masks: photos that have them are none, whatever they end in."""
        return {path.stem for path in self._images if self._holds_masks(path.parent)}

    @cached_property
    def _stems(self) -> set[str]:
        return {stem for path in self._images for stem in (path.stem, IMAGE_ENDS.sub('', path.stem))}
