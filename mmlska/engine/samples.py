"""Which samples a training step gets, and with which random numbers: a function of seed and position, so that any step can be repeated."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import random
import traceback
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS, DATASETS
from torch.utils.data import BatchSampler, Dataset, Sampler, get_worker_info

from ..datasets.coco_labels import refuse_deadly_mask
from ..images import spread
from ..log import log
from .errors import BadSampleError
from .ignored_label import IGNORED, ignored_by

_MAX_WORKERS = 256
_MOST_BAD = 1000  # files that are remembered as bad
_TRIED = 3  # other files that tell a wrong setting from a broken file


class Draw(int):
    """The index of a sample together with the seed of its augmentations.

    Example:
        >>> draw = Draw(3, seed=7)
        >>> [10, 20, 30, 40][draw], draw.seed
        (40, 7)
    """

    seed: int

    def __new__(cls, index: int, seed: int) -> Draw:
        draw = super().__new__(cls, index)
        draw.seed = seed
        return draw

    def __getnewargs__(self) -> tuple[int, int]:  # draws travel to the data workers
        return int(self), self.seed


def mix_seed(*parts: int) -> int:
    """One seed of 32 bits from several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def seed_generators(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch, those of the GPUs too where they are in use."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  the generator that mmcv's transforms use
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


@DATA_SAMPLERS.register_module()
class ResumableBatchSampler(Sampler):
    """The batches of another batch sampler from a given one on, with a seed for each sample.

    A sample's seed depends on the seed of the run, the epoch and the sample's position in the order that all processes share; the
    augmentations are then the same after a resume, with any number of data workers, and in one process or in several.

    Args:
        sampler: The sampler of indices.
        batch_size: Samples in a batch.
        drop_last: Leave out a last batch that is not full.
        inner: Config of a batch sampler that groups the samples, such as mmdet's AspectRatioBatchSampler.
        endless: Start over at the end, for loops that count iterations.
    """

    def __init__(
        self,
        sampler: Sampler,
        batch_size: int,
        drop_last: bool = False,
        inner: dict | None = None,
        endless: bool = False,
    ) -> None:
        self.sampler, self.batch_size, self.drop_last, self.endless = sampler, batch_size, drop_last, endless
        if inner is None:
            self.batches = BatchSampler(sampler, batch_size, drop_last)
        else:
            self.batches = DATA_SAMPLERS.build(inner, default_args=dict(sampler=sampler, batch_size=batch_size))
        self.begin(getattr(sampler, 'seed', 0))

    def begin(self, seed: int, epoch: int = 0, skip: int = 0) -> None:
        """Set where the next iteration starts: in ``epoch``, behind ``skip`` batches."""
        self._seed, self._epoch, self._skip = seed, epoch, skip
        if hasattr(self.sampler, 'seed'):
            self.sampler.seed = seed  # a resumed run has the seed of the checkpoint, not the one it was built with
        if hasattr(self.sampler, '_indices_of_rank'):
            self.sampler.indices = self.sampler._indices_of_rank()  # InfiniteSampler continues where it was left

    def __iter__(self) -> Iterator[list[Draw]]:
        rank, world_size = get_dist_info()
        epoch, skip, position = self._epoch, self._skip, 0
        while True:
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(epoch)
            for batch in self.batches:
                start, position = position, position + len(batch)
                if skip:
                    skip -= 1
                    continue
                shared = (number * world_size + rank for number in range(start, position))
                yield [Draw(i, mix_seed(self._seed, self._epoch, number)) for i, number in zip(batch, shared)]
            if not self.endless or not position:
                return
            epoch += 1

    def __len__(self) -> int:
        return len(self.batches)


def _origin(error: Exception) -> tuple:
    """The kind of an error and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return type(error), *((frames[-1].filename, frames[-1].lineno) if frames else ())


def mask_pipelines(dataset: Dataset) -> list[list]:
    """The steps of each pipeline of a data set, and of those inside it, that reads the masks of COCO files."""
    inner = [getattr(dataset, 'dataset', None), *(getattr(dataset, 'datasets', None) or ())]
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', [])
    own = [steps] if any(getattr(step, 'with_mask', False) for step in steps) else []
    return own + [found for item in inner if item is not None for found in mask_pipelines(item)]


def refuse_deadly_masks(results: dict) -> dict:
    """First step of a pipeline: stop at masks at which pycocotools would end the process, so that nobody could say which file it was.

    In the pipeline, for a data set reads other samples than the one asked for as well: to mix them, or where a crop leaves no box.
    """
    for instance in results.get('instances', ()):
        try:
            refuse_deadly_mask(instance.get('mask'), results)
        except ValueError as error:
            raise ValueError(f'{results.get("img_path")}: {error}') from error
    return results


@DATASETS.register_module()
class GuardedDataset(Dataset):
    """A dataset that seeds the augmentations of each sample and names the file of one that can't be read.

    Everything else, ``metainfo`` and ``get_data_info`` included, is the inner dataset's.

    Args:
        dataset: The config of a dataset, or a dataset.
        skip_bad: Replace samples of up to this many unreadable files by the next one; counted in each process of a distributed training.
    """

    def __init__(self, dataset: dict | Dataset, skip_bad: int = 0) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.skip_bad = skip_bad
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()
        for steps in mask_pipelines(self.dataset):
            if refuse_deadly_masks not in steps:
                steps.insert(0, refuse_deadly_masks)
        # Shared with the data workers: which files are bad, and for each worker its process and the sample it is reading.
        self._bad = multiprocessing.RawArray('q', max(_MOST_BAD, skip_bad + 1))
        self._reading = multiprocessing.RawArray('q', 2 * _MAX_WORKERS)

    def __getattr__(self, name: str):
        if name.startswith('__') or name == 'dataset':
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: Sequence[int]):
        """A batch, for torch's DataLoader: of its samples, or as a dataset with ``whole_batches`` makes it.

        Such a dataset holds its images in memory and leaves augmentation to the step, which is seeded too.
        """
        if getattr(self.dataset, 'whole_batches', False):
            return self.dataset.__getitems__(indices)
        return [self[index] for index in indices]

    def __getitem__(self, index: int):
        worker = get_worker_info()
        slot = 2 * (worker.id % _MAX_WORKERS) if worker else 0
        self._reading[slot] = os.getpid()
        for candidate in ((index + step) % len(self) for step in range(len(self))):
            # More bad files than allowed stop the run each time: another iterator's workers may have met them first.
            if self._bad[0] and self._count_bad() <= self.skip_bad and self._key(candidate) in self._bad[:]:
                continue
            if isinstance(index, Draw):
                seed_generators(index.seed)
            self._reading[slot + 1] = candidate + 1
            try:
                sample = self.dataset[candidate]
                self._check_labels(sample)
            except Exception as error:  # whatever a decoder or a transform makes of a broken file
                self._mark_bad(candidate)
                self._report(candidate, error)
                continue
            self._reading[slot + 1] = 0
            return sample
        raise BadSampleError('not one image of the training set can be read; run mmlska check on it')

    def _key(self, index: int) -> int:
        """A number for the file of a sample; several tiles of an image have one."""
        return int.from_bytes(hashlib.blake2b(self.file_of(index).encode(), digest_size=7).digest(), 'big') or 1

    def _mark_bad(self, index: int) -> None:
        key, known = self._key(index), self._count_bad()
        if key not in self._bad[:known] and known < len(self._bad):
            self._bad[known] = key

    def _count_bad(self) -> int:
        return sum(map(bool, self._bad))

    def _check_labels(self, sample) -> None:
        """Labels that a loss would stop at, on a GPU without a word about the file."""
        labels = getattr(sample.get('data_samples'), 'gt_sem_seg', None) if isinstance(sample, dict) else None
        if labels is None:
            return
        labels, size = labels.data, sample['inputs'].shape[-2:]
        if labels.shape[-2:] != size:
            sizes = ['{}x{}'.format(*shape) for shape in (labels.shape[-2:], size)]
            raise ValueError(f'the label map has {sizes[0]} pixels, the image {sizes[1]}')
        classes = len(self.dataset.metainfo.get('classes') or ())
        ignored = ignored_by(self.dataset)
        largest = int(labels[labels != ignored].max()) if (labels != ignored).any() else 0
        if classes and largest >= classes:
            fix = ''
            if largest == IGNORED:  # of masks, of reduce_zero_label and of padding by settings of their own
                fix = f'; where {IGNORED} means no label, set ignore_index={IGNORED} in each head'
            raise ValueError(
                f'it has the label {largest}, there are {classes} classes from 0 on and {ignored} for pixels without a label{fix}'
            )

    def _report(self, index: int, error: Exception) -> None:
        reason = ' '.join(str(error).split()) or type(error).__name__
        message = f'{self.file_of(index)} cannot be used ({type(error).__name__}: {reason[:300]})'
        count = self._count_bad()
        if count > self.skip_bad:
            how = f'{count} such files, --skip-bad-images {self.skip_bad}' if self.skip_bad else 'the run stops'
            advice = 'correct or remove the file, or give --skip-bad-images N to continue past up to N of them'
            if alike := self._fail_alike(index, error):
                advice = (
                    f'{alike} other files fail in the same way: a setting is probably wrong (of the classes, the data set or its '
                    'pipeline), not the files'
                )
            raise BadSampleError(f'{message}; {how}: {advice}') from error
        log(f'{message}; continuing without it, {count} of at most {self.skip_bad}', logging.WARNING)

    def _fail_alike(self, index: int, error: Exception) -> int:
        """How many other files were tried, if all fail as this one; 0 if one does not."""
        tried: set[str] = {self.file_of(index)}
        for other in spread(range(len(self)), _TRIED + 1):
            if (file := self.file_of(other)) in tried:
                continue
            try:
                self._check_labels(self.dataset[other])
            except Exception as found:  # whatever a transform makes of it
                if _origin(found) != _origin(error):
                    return 0
                tried.add(file)
            else:
                return 0
        return len(tried) - 1

    def file_of(self, index: int) -> str:
        """The image file of a sample, with its label map where it has one."""
        info = self.dataset.get_data_info(index)
        files = [str(info[key]) for key in ('img_path', 'seg_map_path') if info.get(key)]
        return ' or '.join(files) or f'sample {index}'

    def read_by(self, pids: Sequence[int]) -> list[str]:
        """The files that these data workers were reading when they ended."""
        slots = [self._reading[i : i + 2] for i in range(0, len(self._reading), 2)]
        return [self.file_of(index - 1) for pid, index in slots if pid in pids and index]
