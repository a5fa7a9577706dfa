"""The training of scripts/gpu_pretrain.py: a step that the CPU does not slow down, the loop around it, and its state in parts.

MMEngine's Runner gives the same recipe; here a step is one CUDA graph, because eager steps of a network this small wait for the CPU.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import METRICS, MODELS, PARAM_SCHEDULERS
from torch import Tensor

from mmlska.classification import Photos, PretrainingClassifier
from mmlska.classification.publish import half_precision
from mmlska.engine.errors import TrainingError
from mmlska.engine.samples import mix_seed, seed_generators
from mmlska.files import write_bytes
from mmlska.results import run_environment, write_json
from mmlska.weights import save_weights

#: A file that comes back from a borrowed machine may have 16 MiB.
PART = 15 << 20
WEIGHTS, PROGRESS, STATE = 'weights.safetensors', 'progress.json', 'state.json'
#: Steps between two looks at the clock; each look waits for the GPU.
LOOK = 20
#: Photos that are validated at once: more than the config says, for each batch waits for the CPU.
VALIDATED = 2000


def recipe_of(cfg: Config, seed: int, photos: Photos) -> dict:
    """All that a state must agree with to be continued, as JSON would give it back."""
    ema = dict(next(hook for hook in cfg.custom_hooks if hook['type'] == 'EMAHook'))
    model = {key: value for key, value in cfg.model.to_dict().items() if key != 'init_cfg'}
    recipe = dict(
        seed=seed,
        epochs=cfg.train_cfg.max_epochs,
        batch=cfg.train_dataloader.batch_size,
        photos=len(photos),
        model=model,
        optimizer=cfg.optim_wrapper.optimizer.to_dict(),
        clip_grad=cfg.optim_wrapper.clip_grad.to_dict(),
        schedule=[dict(s) for s in cfg.param_scheduler],
        ema={key: ema[key] for key in ('momentum', 'gamma')},
    )
    return json.loads(json.dumps(recipe))


def rates_of(cfg: Config, steps: int) -> list[float]:
    """The learning rate of every step of a training, by MMEngine's own schedulers on an optimizer of one number."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=cfg.optim_wrapper.optimizer.lr)
    given = dict(optimizer=optimizer, epoch_length=steps)
    schedulers = [PARAM_SCHEDULERS.build(dict(scheduler), default_args=given) for scheduler in cfg.param_scheduler]
    rates = []
    for _ in range(cfg.train_cfg.max_epochs * steps):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return rates


def batches_of(count: int, batch: int, seed: int, epoch: int, device: torch.device) -> tuple[Tensor, ...]:
    """The indices of an epoch's batches, all full, drawn on the device."""
    generator = torch.Generator(device).manual_seed(mix_seed(seed, epoch))
    order = torch.randperm(count, generator=generator, device=device)
    return order[: count // batch * batch].split(batch)


class Training:
    """Model, averaged model, optimizer, and one training step on buffers that stay where they are, so that a graph can repeat it.

    Args:
        cfg: The pretraining's config.
        seed: Of the weights.
        device: Where it runs; bf16 autocast on a GPU, float32 on a CPU.
        photo_size: (H, W) of the photos.
    """

    def __init__(self, cfg: Config, seed: int, device: torch.device, photo_size: tuple[int, ...]) -> None:
        self.device, self.gpu = device, device.type == 'cuda'
        seed_generators(seed)
        layout = torch.channels_last if self.gpu else torch.contiguous_format
        self.model: PretrainingClassifier = MODELS.build(cfg.model).to(device).to(memory_format=layout).train()
        self.average = deepcopy(self.model).requires_grad_(False).eval()
        # BatchNorm's statistics are averaged too, its counters are not.
        pairs = zip(self.average.state_dict().values(), self.model.state_dict().values())
        self.averaged, self.sources = zip(*((a, t) for a, t in pairs if a.is_floating_point()))
        options = cfg.optim_wrapper.optimizer.to_dict()
        if options.pop('type') != 'AdamW':
            raise ValueError(f'optimizer {cfg.optim_wrapper.optimizer.type} is not possible here; choose AdamW')
        self.max_norm = cfg.optim_wrapper.clip_grad.max_norm
        self.rate = torch.tensor(options.pop('lr'), device=device)  # a tensor, for a graph would keep a number
        named = dict(self.model.named_parameters())
        self.optimizer = torch.optim.AdamW(named.values(), lr=self.rate, fused=True, capturable=self.gpu, **options)
        # The moments from the start, not from the first step: warm-up steps are undone in place.
        self.moments = {
            name: dict(step=torch.zeros((), device=device), exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
            for name, p in named.items()
        }
        self.optimizer.state.update({p: self.moments[name] for name, p in named.items()})
        batch = cfg.train_dataloader.batch_size
        size = self.model.data_preprocessor.size
        shape = photo_size if size is None else (size, size)
        self.inputs = torch.zeros(batch, 3, *shape, device=device).contiguous(memory_format=layout)
        self.labels, self.mixed_labels = torch.zeros(2, batch, dtype=torch.long, device=device)
        self.share, self.momentum, self.loss = torch.zeros(3, device=device)
        self.run = self._step

    def _step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.gpu):
            maps = self.model.extract_feat(self.inputs)[-1]
        logits, smoothing = self.model.head(maps.float().mean((2, 3))), self.model.label_smoothing
        # The classifier's own loss asks whether the share is below 1, which a graph cannot.
        loss = self.share * F.cross_entropy(logits, self.labels, label_smoothing=smoothing)
        loss = loss + (1 - self.share) * F.cross_entropy(logits, self.mixed_labels, label_smoothing=smoothing)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_norm)
        self.optimizer.step()
        with torch.no_grad():
            change = torch._foreach_sub(self.sources, self.averaged)
            torch._foreach_mul_(change, self.momentum)
            torch._foreach_add_(self.averaged, change)
            self.loss.copy_(loss)

    def capture(self) -> None:
        """Record the step as a CUDA graph on the current stream, which must not be the default one; the state is as before."""
        before = {name: tensor.clone() for name, tensor in self.tensors().items()}
        for _ in range(3):  # kernels are compiled and algorithms chosen before
            self._step()
        self.optimizer.zero_grad(set_to_none=True)  # the gradients' memory must be the graph's
        if self.gpu:  # without one the steps above are undone all the same, for the tests
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
                self._step()
            self.run = graph.replay
        self.load(before)

    def step(self, images: Tensor, labels: Tensor, seed: int, rate: float, momentum: float) -> None:
        """One training step; ``self.loss`` holds its loss, on the device.

        Args:
            images: (N, 3, H, W) uint8, on the device.
            labels: (N,), there too.
            seed: Of this step's crops, mixing and drop path.
            rate: Learning rate.
            momentum: Part of the average that the new weights make up.
        """
        seed_generators(seed)
        batch = self.model.data_preprocessor(dict(inputs=images, labels=labels), training=True)
        self.inputs.copy_(batch['inputs'])
        self.labels.copy_(batch['labels'])
        self.mixed_labels.copy_(batch['mixed_labels'])
        self.share.fill_(batch['share'])
        self.rate.fill_(rate)
        self.momentum.fill_(momentum)
        self.run()

    @torch.no_grad()
    def validate(self, photos: Photos, evaluator: dict) -> dict[str, float]:
        """Percentages of the averaged weights on photos that are on the device."""
        metric = METRICS.build(evaluator)
        for index in torch.arange(len(photos), device=self.device).split(VALIDATED):
            data = self.average.data_preprocessor(photos.__getitems__(index))
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.gpu):
                metric.process(None, self.average(**data, mode='predict'))
        return {key.split('/')[1]: round(value, 2) for key, value in metric.evaluate(len(photos)).items()}

    def tensors(self) -> dict[str, Tensor]:
        """All tensors that make up the state, by name, as they are."""
        parts = dict(model=self.model.state_dict(), average=self.average.state_dict())
        found = {f'{part}/{name}': t for part, tensors in parts.items() for name, t in tensors.items()}
        return found | {f'{key}/{name}': t for name, state in self.moments.items() for key, t in state.items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over a state, in place.

        Raises:
            ValueError: If it has other tensors.
        """
        own = self.tensors()
        if {name: t.shape for name, t in own.items()} != {name: t.shape for name, t in tensors.items()}:
            strange = sorted(own.keys() ^ tensors.keys())[:1]
            raise ValueError(f'the state has other tensors than this network, such as {strange}; start without --state')
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(tensors[name])

    def small(self) -> dict[str, Tensor]:
        """The state as it is kept: weights in float32, their average in float16, moments in bfloat16; on the CPU."""
        found = self.tensors()
        average = {name: t for name, t in found.items() if name.startswith('average/')}
        moments = {name: t.bfloat16() for name, t in found.items() if name.startswith('exp_avg')}
        return {name: t.cpu().contiguous() for name, t in {**found, **half_precision(average), **moments}.items()}


@dataclass
class Place:
    """Where a training is: ``step`` counts all steps, ``losses`` are those of the epoch that has begun, ``epochs`` those done."""

    step: int = 0
    seconds: float = 0.0  # of the epoch that has begun
    losses: list[float] = field(default_factory=list)
    epochs: list[dict] = field(default_factory=list)
    runs: list[dict] = field(default_factory=list)  # date, hardware and versions of each


def write_state(folder: Path, training: Training, recipe: dict, place: Place) -> None:
    """Write state.json and the parts it names; state.json goes first and comes last, so no half of a state is taken for one."""
    (folder / STATE).unlink(missing_ok=True)
    blob, parts = safetensors.torch.save(training.small()), []
    for start in range(0, len(blob), PART):
        piece = blob[start : start + PART]
        name = f'state-{len(parts)}.bin'
        write_bytes(folder / name, piece)
        parts.append(dict(name=name, bytes=len(piece), sha256=hashlib.sha256(piece).hexdigest()))
    write_json(folder / STATE, dict(recipe=recipe, place=place.__dict__, parts=parts))


def read_state(folder: Path, recipe: dict) -> tuple[dict[str, Tensor], Place]:
    """The tensors and the place of a state that was written with the same recipe.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a part is damaged or the recipe differs.
    """
    path = folder / STATE
    if not path.is_file():
        raise FileNotFoundError(
            f'--state {folder} has no {STATE}; give the folder that a training wrote which is not finished'
        )
    try:
        state = json.loads(path.read_text(encoding='utf-8'))
        kept, place, parts = state['recipe'], Place(**state['place']), state['parts']
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is damaged; fetch it again') from error
    here, there = (dict(_flat(recipe)), dict(_flat(kept)))
    different = [key for key in {**here, **there} if here.get(key) != there.get(key)]
    if different:
        words = '; '.join(f'{key} is {here.get(key)}, there {there.get(key)}' for key in different[:4])
        raise ValueError(f'--state {folder} was made with other settings: {words}; give the same ones or leave it out')
    blob = b''
    for part in parts:
        file = folder / part['name']
        if not file.is_file():
            raise FileNotFoundError(f'{file} is missing; bring all {len(parts)} parts that {path} names')
        piece = file.read_bytes()
        if hashlib.sha256(piece).hexdigest() != part['sha256']:
            raise ValueError(f'{file} is damaged: its SHA-256 is not the one in {path}; fetch it again')
        blob += piece
    return safetensors.torch.load(blob), place


def _flat(node: object, path: str = '') -> Iterator[tuple[str, object]]:
    if isinstance(node, (dict, list)):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _flat(value, f'{path}.{key}' if path else str(key))
    else:
        yield path, node


class Loop:
    """Trains until the end, until the time is over or for some steps, and writes what came of it.

    Args:
        cfg: The config.
        training: What is trained.
        photos: Training and validation photos, on the device.
        recipe: Of :func:`recipe_of`.
        place: Where it starts.
        out: Folder for weights, progress and state.
        about: More for progress.json.
        deadline: When all must be written, of time.monotonic().
        steps: Stop after so many in this call; None for no limit.
    """

    def __init__(
        self,
        cfg: Config,
        training: Training,
        photos: tuple[Photos, Photos],
        recipe: dict,
        place: Place,
        out: Path,
        about: dict,
        deadline: float,
        steps: int | None = None,
    ) -> None:
        self.cfg, self.training, self.recipe, self.place, self.out = cfg, training, recipe, place, out
        self.photos, self.val_photos = photos
        self.about, self.deadline, self.limit = about, deadline, steps
        self.batch, self.epochs = recipe['batch'], recipe['epochs']
        self.per_epoch = len(self.photos) // self.batch
        self.rates = rates_of(cfg, self.per_epoch)
        self.losses = torch.zeros(self.per_epoch, device=training.device)
        self.losses[: len(place.losses)] = torch.tensor(place.losses)
        self.saved, self.reserve = time.monotonic(), 0.0
        place.runs.append(run_environment())

    def run(self) -> bool:
        """Train; return whether the training is finished."""
        place, first = self.place, self.place.step
        print(
            f'before: {self._validated()}', flush=True
        )  # compiles what validation needs, and shows what a state brought
        stopped = False
        while place.step < len(self.rates) and not stopped:
            epoch, begin = divmod(place.step, self.per_epoch)
            batches = batches_of(len(self.photos), self.batch, self.recipe['seed'], epoch, self.training.device)
            started = time.monotonic()
            for position in range(begin, self.per_epoch):
                self._one_step(batches[position], position)
                done = place.step - first
                if self.limit is not None and done >= self.limit:
                    stopped = True
                elif done % LOOK == 0 or place.step == len(self.rates):
                    self._look()
                    stopped = time.monotonic() > self.deadline - self.reserve
                if stopped:
                    break
            self._look()
            place.seconds += time.monotonic() - started
            place.losses = self.losses[: position + 1].tolist()
            if position + 1 == self.per_epoch:
                self._end_epoch(epoch + 1)
        finished = place.step == len(self.rates)
        last = self._validated()
        print(f'after {place.step} of {len(self.rates)} steps: {last}', flush=True)
        self._write(finished, last)
        return finished

    def _one_step(self, index: Tensor, position: int) -> None:
        place, ema = self.place, self.recipe['ema']
        images = self.photos.images[index].permute(0, 3, 1, 2)
        momentum = max(ema['momentum'], ema['gamma'] / (ema['gamma'] + place.step))
        seed = mix_seed(self.recipe['seed'], 1, place.step)
        self.training.step(images, self.photos.labels[index], seed, self.rates[place.step], momentum)
        self.losses[position].copy_(self.training.loss)
        place.step += 1

    def _look(self) -> None:
        """Wait for the device and stop a training whose loss is not finite: a state of it would be worth nothing."""
        if not torch.isfinite(self.training.loss).item():
            raise TrainingError(
                f'the loss is not finite at step {self.place.step}; nothing is written, lower optim_wrapper.optimizer.lr'
            )

    def _end_epoch(self, epoch: int) -> None:
        place = self.place
        speed = self.per_epoch * self.batch / place.seconds
        row = dict(epoch=epoch, loss=round(sum(place.losses) / len(place.losses), 4), rate=self.rates[place.step - 1])
        row.update(seconds=round(place.seconds, 2), images_per_second=round(speed, 1))
        validates = epoch % self.cfg.train_cfg.val_interval == 0 or epoch == self.epochs
        if validates:
            row.update(self._validated())
        print(', '.join(f'{key} {value:.6g}' for key, value in row.items()), flush=True)
        place.epochs.append(row)
        place.seconds = 0.0
        if epoch < self.epochs:
            place.losses = []
        if validates and time.monotonic() - self.saved > 60 and epoch < self.epochs:
            self._write(False, {key: row[key] for key in row if key.startswith('top')})
        else:
            self._write_progress(False, {})

    def _validated(self) -> dict[str, float]:
        """Accuracy now; what that takes is the time to keep for the last one, twice to be sure, and some for writing."""
        started = time.monotonic()
        found = self.training.validate(self.val_photos, self.cfg.val_evaluator)
        self.reserve = min(10 + 2 * (time.monotonic() - started), 40)
        return found

    def _write(self, finished: bool, last: dict) -> None:
        weights = half_precision(self.training.average.state_dict())
        save_weights(weights, self.out / WEIGHTS, metadata=dict(step=str(self.place.step)))
        if finished:  # a state would only take up room
            for path in (self.out / STATE, *self.out.glob('state-*.bin')):
                path.unlink(missing_ok=True)
        else:
            write_state(self.out, self.training, self.recipe, self.place)
        self._write_progress(finished, last)
        self.saved = time.monotonic()

    def _write_progress(self, finished: bool, last: dict) -> None:
        place = self.place
        at = dict(finished=finished, step=place.step, steps=len(self.rates), **last)
        about = dict(**place.runs[-1], **self.about, recipe=self.recipe, runs=place.runs)
        write_json(self.out / PROGRESS, dict(**about, **at, epochs=place.epochs, step_losses=place.losses))
