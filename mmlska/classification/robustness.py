"""ImageNet robustness as the LSKA paper measures it: ImageNet-C with mCE, -A, -R, -Sketch and C-bar.

Source: the LSKA paper names the sets; ImageNet-C and mCE: Hendrycks and Dietterich, ICLR 2019, arXiv 1903.12261;
ImageNet-A: arXiv 1907.07174; ImageNet-R: arXiv 2006.16241; ImageNet-Sketch: arXiv 1905.13549; C-bar: arXiv 2102.11273.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..datasets.corruption import CORRUPTION_GROUPS
from ..images import IMAGE_SUFFIXES, images_below
from ..results import markdown_table, resume_results, write_json

_ALEXNET = {
    'noise': (88.6428, 89.4468, 92.2640),
    'blur': (81.9880, 82.6268, 78.5948, 79.8360),
    'weather': (86.6816, 82.6572, 81.9324, 56.4592),
    'digital': (85.3204, 64.6056, 71.7840, 60.6500),
}
#: AlexNet's top-1 errors in percent, mean of the five severities: the divisors of mCE, from the authors' published evaluation
#: (arXiv 1903.12261, where table 1 has them rounded).
CORRUPTIONS = {name: e for group, errors in _ALEXNET.items() for name, e in zip(CORRUPTION_GROUPS[group], errors)}
#: The same, rounded as published, for the four that were held back for validation; not part of mCE.
EXTRA_CORRUPTIONS = dict(zip(CORRUPTION_GROUPS['extra'], (84.5, 78.7, 71.8, 65.8)))
#: The ten of ImageNet-C-bar, whose severities are named by their strength.
C_BAR = (
    'blue_noise_sample',
    'brownish_noise',
    'caustic_refraction',
    'checkerboard_cutout',
    'cocentric_sine_waves',
    'inverse_sparkles',
    'perlin_noise',
    'plasma_noise',
    'single_frequency_greyscale',
    'sparkles',
)
SETS = ('imagenet', 'imagenet-c', 'imagenet-c-bar', 'imagenet-a', 'imagenet-r', 'imagenet-sketch')
_SUBSETS = ('imagenet-a', 'imagenet-r')  # the model chooses among their classes
SUBSET_CLASSES = 200
SEVERITIES = 5


@dataclass(frozen=True)
class Condition:
    """One folder of class folders."""

    key: str  # name in the results, such as 'imagenet-c/fog/3'
    folder: Path
    subset: bool  # only the classes that have a folder may be answered
    cropped: bool  # the images are crops of the model's size already


def mean_corruption_error(errors: Mapping[str, float], reference: Mapping[str, float] = CORRUPTIONS) -> float:
    """mCE: the mean of a model's errors, each in percent of AlexNet's.

    Args:
        errors: Top-1 error in percent of each corruption, mean of its severities.
        reference: AlexNet's, by default for the 15 corruptions of ImageNet-C.

    Raises:
        ValueError: If a corruption is missing.

    Example:
        >>> round(mean_corruption_error(CORRUPTIONS), 1)
        100.0
    """
    missing = [name for name in reference if name not in errors]
    if missing:
        raise ValueError(f'mCE needs all {len(reference)} corruptions; missing: {", ".join(missing)}')
    return 100 * sum(errors[name] / reference[name] for name in reference) / len(reference)


def find_conditions(root: Path, sets: Iterable[str] = SETS) -> list[Condition]:
    """Find the folders of the robustness sets below ``root``, in the layouts in which they are published.

    ``imagenet/val/WNID``; ``imagenet-c/[GROUP/]CORRUPTION/SEVERITY/WNID``; ``imagenet-c-bar/CORRUPTION/SEVERITY/WNID``; ``imagenet-a``,
    ``imagenet-r`` and ``imagenet-sketch`` with their ``WNID`` folders directly or in one folder of any name.

    Raises:
        ValueError: If a set is unknown.
        FileNotFoundError: If a set or a part of it is not there.
    """
    found = []
    for name in sets:
        folder = root / name
        if name not in SETS:
            raise ValueError(f'no robustness set {name!r}; choose among {", ".join(SETS)}')
        if not folder.is_dir():
            raise FileNotFoundError(f'{folder} does not exist; unpack {name} there, or leave it out with --sets')
        if name == 'imagenet':
            found.append(Condition(name, _with_classes(folder / 'val'), subset=False, cropped=False))
        elif name.startswith('imagenet-c'):
            wanted = C_BAR if name == 'imagenet-c-bar' else (*CORRUPTIONS, *EXTRA_CORRUPTIONS)
            for corruption in wanted:
                where = next((p for p in (folder / corruption, *folder.glob(f'*/{corruption}')) if p.is_dir()), None)
                if where is None and corruption in EXTRA_CORRUPTIONS:
                    continue  # an archive of its own, which not everyone has
                if where is None:
                    raise FileNotFoundError(f'{folder / corruption} does not exist; unpack all of {name} there')
                levels = sorted((p for p in where.iterdir() if p.is_dir()), key=lambda p: float(p.name))
                if len(levels) != SEVERITIES:
                    raise FileNotFoundError(f'{where} has {len(levels)} severities; {SEVERITIES} belong there')
                found += [Condition(f'{name}/{corruption}/{p.name}', _with_classes(p), False, True) for p in levels]
        else:
            found.append(Condition(name, _with_classes(folder), name in _SUBSETS, cropped=False))
    return found


def is_class_name(name: str) -> bool:
    """Whether a folder is named as ImageNet's classes are, such as n01440764."""
    return name[:1] == 'n' and name[1:].isdigit()


def _class_folders(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and is_class_name(p.name))


def _with_classes(folder: Path) -> Path:
    inside = sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    for candidate in (folder, *inside[:1]):
        if candidate.is_dir() and _class_folders(candidate):
            return candidate
    raise FileNotFoundError(f'{folder} holds no class folders such as n01440764; unpack the images there')


def class_order(folder: Path) -> list[str]:
    """The classes of a model trained on ImageNet's train or val folder, or ImageNet-Sketch's: the names of the folders in it, sorted."""
    return _class_folders(_with_classes(folder))


def measure(
    condition: Condition,
    classes: Sequence[str],
    predict: Callable[[Sequence[Path], bool], Iterator[Tensor]],
    limit: int | None = None,
) -> dict[str, float]:
    """Top-1 error of a classifier on one folder.

    Args:
        condition: One of :func:`find_conditions`.
        classes: The model's classes in its order, by folder name.
        predict: Takes the images and whether they are cropped; yields scores (N, classes) in their order.
        limit: At most so many images.

    Returns:
        ``error`` in percent, the number of ``images`` and of ``classes`` that have a folder.

    Raises:
        ValueError: If a folder is none of the model's classes, there is no image, or the scores do not fit.
    """
    present = _class_folders(condition.folder)
    unknown = [name for name in present if name not in classes]
    if unknown:
        raise ValueError(
            f'{condition.folder} has {unknown[0]}, which is none of the {len(classes)} classes of the model'
        )
    index = {name: i for i, name in enumerate(classes)}
    folders = {condition.folder / name: index[name] for name in present}
    images = [(path, i) for folder, i in folders.items() for path in images_below(folder) if path.parent == folder][
        :limit
    ]
    if not images:
        raise ValueError(f'{condition.folder} holds no images ({", ".join(IMAGE_SUFFIXES)})')
    allowed = [index[name] for name in present] if condition.subset else None
    right = seen = 0
    for scores in predict([path for path, _ in images], condition.cropped):
        if scores.shape[1] != len(classes):
            raise ValueError(f'the model has {scores.shape[1]} classes, ImageNet as found has {len(classes)}')
        truth = [label for _, label in images[seen : seen + len(scores)]]
        if allowed is None:
            answers = scores.argmax(1).tolist()
        else:
            answers = [allowed[i] for i in scores[:, allowed].argmax(1).tolist()]
        right += sum(a == t for a, t in zip(answers, truth))
        seen += len(scores)
    return dict(error=100 * (1 - right / len(images)), images=len(images), classes=len(present))


def incomplete(conditions: Mapping[str, Mapping[str, float]]) -> list[str]:
    """One line for each of -A and -R that was measured on other than its 200 classes, among which the choice is easier or harder.

    Example:
        >>> incomplete({'imagenet-a': dict(error=20.0, images=5, classes=3)})
        ['imagenet-a has 3 classes, 200 belong there: its accuracy cannot be compared; unpack all of it']
    """
    found = {name: conditions[name].get('classes', 'an unknown number of') for name in _SUBSETS if name in conditions}
    return [
        f'{name} has {count} classes, {SUBSET_CLASSES} belong there: its accuracy cannot be compared; unpack all of it'
        for name, count in found.items()
        if count != SUBSET_CLASSES
    ]


def summarise(errors: Mapping[str, float]) -> dict[str, float]:
    """The numbers of the paper's table that could be measured, all in percent, from the errors in percent by the key of the condition."""
    common, c_bar = _over_severities(errors, 'imagenet-c/'), _over_severities(errors, 'imagenet-c-bar/')
    correct = {key: 100 - error for key, error in errors.items()}
    table = {
        'accuracy': correct.get('imagenet'),
        'mCE': mean_corruption_error(common) if set(CORRUPTIONS) <= set(common) else None,
        'mCE of the extra four': (
            mean_corruption_error(common, EXTRA_CORRUPTIONS) if set(EXTRA_CORRUPTIONS) <= set(common) else None
        ),
        'C-bar error': sum(c_bar.values()) / len(c_bar) if set(C_BAR) <= set(c_bar) else None,
        'A accuracy': correct.get('imagenet-a'),
        'R accuracy': correct.get('imagenet-r'),
        'Sketch accuracy': correct.get('imagenet-sketch'),
    }
    return {column: value for column, value in table.items() if value is not None}


def _over_severities(errors: Mapping[str, float], prefix: str) -> dict[str, float]:
    groups: dict[str, list[float]] = {}
    for key, error in errors.items():
        if key.startswith(prefix):
            groups.setdefault(key.split('/')[1], []).append(error)
    return {name: sum(levels) / len(levels) for name, levels in groups.items() if len(levels) == SEVERITIES}


def run(
    conditions: Iterable[Condition],
    classes: Sequence[str],
    predict: Callable,
    out: Path,
    subject: Mapping[str, object],
    limit: int | None = None,
) -> dict:
    """Measure conditions one by one, as :func:`measure` does, into a results file; those that the file has already are skipped.

    Args:
        out: JSON file, written after each condition.
        subject: What is measured: config, checkpoint and settings.

    Returns:
        The content of the file.

    Raises:
        ValueError: If the file belongs to something else.
    """
    results = resume_results(out, 'subject', {**subject, 'limit': limit}, conditions={}, summary={})
    for condition in conditions:
        if condition.key not in results['conditions']:
            results['conditions'][condition.key] = measure(condition, classes, predict, limit)
            errors = {key: entry['error'] for key, entry in results['conditions'].items()}
            results['summary'] = summarise(errors)
            write_json(out, results)
    return results


def table(results: Mapping[str, Mapping[str, float]]) -> str:
    """One Markdown row for each model, from summaries by the name of the model."""
    columns = list(dict.fromkeys(column for row in results.values() for column in row))
    rows = [[name, *(f'{row[c]:.1f}' if c in row else '' for c in columns)] for name, row in results.items()]
    return markdown_table(['model', *columns], rows)
