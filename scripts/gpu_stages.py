#!/usr/bin/env python
"""The stages of scripts/gpu_check.py, each run by it in processes of its own: scripts/gpu_stages.py STAGE [WHAT ...]."""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

ROOT = Path(__file__).resolve().parents[1]
SMALL_ARCH = dict(embed_dims=[4, 6, 8, 8], depths=[1, 1, 1, 1], ffn_ratios=[2, 2, 2, 2])


class Stage:
    """What a stage gets: where it runs, whether tiny, how it waits for its turn and where its results go."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.what, self.smoke, self.data, self.processes = args.what, args.smoke, args.data, args.processes
        self.training_seconds = args.training_seconds
        self.folder, self.name, self.waits = args.folder, args.name, args.wait
        self.device = torch.device('cpu' if args.smoke else 'cuda')
        self.result: dict = {'summary': []}
        if args.smoke and args.stage in ('operators', 'tune'):
            use_the_interpreter()
        elif args.smoke:  # a whole network takes minutes in the interpreter
            os.environ['MMLSKA_STRICT'] = '0'

    def turn(self) -> None:
        """Say that all is prepared, and come back when nothing else uses the GPU."""
        self.synchronize()
        (self.folder / f'{self.name}.ready').touch()
        parent = os.getppid()
        while self.waits and not (self.folder / f'{self.name}.go').exists():
            if os.getppid() != parent:
                raise SystemExit('the check has ended')
            time.sleep(0.02)

    def synchronize(self) -> None:
        if self.device.type == 'cuda':
            torch.cuda.synchronize()
            torch.cuda.empty_cache()

    def write(self, **values) -> None:
        """Add to the results, and have them on disk at once."""
        self.result.update(values)
        part = self.folder / f'{self.name}.part'
        part.write_text(json.dumps(without_nan(self.result), allow_nan=False))
        os.replace(part, self.folder / f'{self.name}.json')

    def say(self, line: str) -> None:
        """Add a line to the table at the end of the check."""
        print(line, flush=True)
        self.write(summary=[*self.result['summary'], line])

    def ceilings(self) -> dict:
        """What the stage `environment` measured, if it did."""
        file = self.folder / 'environment.json'
        return json.loads(file.read_text()) if file.is_file() else {}


def without_nan(value: Any) -> Any:
    """The same with None for numbers that JSON does not know."""
    if isinstance(value, dict):
        return {key: without_nan(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def use_the_interpreter() -> None:
    """Let the front doors take the Triton kernels on a CPU too."""
    from mmlska.ops import gpu

    gpu.pays = lambda op, x: True


# ---- environment ----


def environment(stage: Stage) -> None:
    from mmlska.analysis.report import run_environment
    from mmlska.benchmark.timing import copy_bandwidth, time_interleaved

    stage.write(**run_environment(), cpu_count=os.cpu_count())
    size = 64 if stage.smoke else 8192
    dtype = torch.bfloat16
    if stage.device.type == 'cuda':
        query = 'name,driver_version,memory.total,clocks.sm,clocks.max.sm,clocks.mem,temperature.gpu,power.draw'
        done = subprocess.run(['nvidia-smi', f'--query-gpu={query}', '--format=csv'], capture_output=True, text=True)
        properties = torch.cuda.get_device_properties(0)
        stage.write(
            card=properties.name,
            nvidia_smi=done.stdout.strip().splitlines(),
            cuda=torch.version.cuda,
            multiprocessors=properties.multi_processor_count,
            memory_bytes=properties.total_memory,
            l2_bytes=properties.L2_cache_size,
        )
    a, b = (torch.randn(size, size, device=stage.device).to(dtype) for _ in range(2))
    stage.turn()
    copy = copy_bandwidth(stage.device, megabytes=1 if stage.smoke else 2048)
    product = time_interleaved({'product': lambda: a @ b}, stage.device, 0.1 if stage.smoke else 1.0)['product']
    rate = 2 * size**3 / (product.median / 1e3)
    stage.write(copy_bytes_per_second=copy, bf16_flops_per_second=rate)
    stage.say(
        f'{stage.result.get("card", "CPU")}, torch {torch.__version__}, copy {copy / 1e12:.2f} TB/s, bf16 {rate / 1e12:.0f} TFLOP/s'
    )


# ---- correct ----


def correct(stage: Stage) -> None:
    """The tests of the operators, which compare with the reference in float64."""
    target = ['tests/ops/test_triton.py', '-n', str(stage.processes), '-v']
    if stage.smoke:
        target = ['tests/ops/triton_cases.py', '-v', '-k', 'twice_the_same or empty_batch or nan_does_not_vanish']
    command = [sys.executable, '-m', 'pytest', *target, '-o', 'addopts=-ra', '-p', 'no:cacheprovider', '--tb=short']
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    outcomes: dict[str, list[str]] = defaultdict(list)
    for line in process.stdout:
        print(line, end='', flush=True)
        # With several processes the outcome comes before the name, otherwise after it.
        if '::' in line and (found := re.search(r'\b(PASSED|FAILED|ERROR|SKIPPED)\b', line)) and ' - ' not in line:
            name = re.search(r'\S+::\S+', line)[0]
            if name not in outcomes[found[1]]:
                outcomes[found[1]].append(name)
                stage.write(
                    passed=len(outcomes['PASSED']),
                    failed=outcomes['FAILED'] + outcomes['ERROR'],
                    skipped=outcomes['SKIPPED'],
                )
    code = process.wait()
    failed = outcomes['FAILED'] + outcomes['ERROR']
    stage.say(f'{len(outcomes["PASSED"])} tests passed, {len(failed)} failed, {len(outcomes["SKIPPED"])} skipped')
    for name in failed[:20]:
        stage.say(f'failed: {name}')
    raise SystemExit(code)


def sanitizer(stage: Stage) -> None:
    """A small case of every kernel under compute-sanitizer."""
    tool = stage.what[0]
    program = shutil.which('compute-sanitizer', path=os.environ['PATH'] + ':/usr/local/cuda/bin')
    if program is None:
        stage.say('compute-sanitizer is not on PATH; it comes with the CUDA toolkit')
        raise SystemExit(3)
    command = [program, '--tool', tool, '--error-exitcode', '9', '--print-limit', '40']
    command += [sys.executable, __file__, 'small', '--folder', str(stage.folder), '--name', f'{stage.name}-small']
    # Every tensor has memory of its own, so that an access beside it is seen.
    environment = {**os.environ, 'PYTORCH_NO_CUDA_MEMORY_CACHING': '1'}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    print(done.stdout, flush=True)
    lines = re.findall(r'=+ (ERROR SUMMARY.*|RACECHECK SUMMARY.*)', done.stdout)
    kernels = sorted(set(re.findall(r'at (?:void )?(\w+)', done.stdout)))
    stage.write(tool=tool, exit=done.returncode, kernels_named=kernels)
    stage.say(f'{tool}: {lines[-1] if lines else "no summary"}' + (f' in {", ".join(kernels)}' if kernels else ''))
    raise SystemExit(done.returncode)


def small(stage: Stage) -> None:
    """What the sanitizer watches: both operators forward and backward, on maps with borders, in two dtypes."""
    sys.path.insert(0, str(ROOT / 'tests/ops'))
    import ops_cases as cases

    import conftest  # noqa: F401, stands in for mmlska where MMEngine is missing

    for dtype in (torch.bfloat16, torch.float32):
        flat, dilation = cases.lska_tensors(20, 23, dtype)
        x = cases.make_map((2, 20, 33, 50), dtype, 'contiguous', device=stage.device)
        inputs = [x, *(t.to(stage.device) for t in flat)]
        found = cases.outputs_and_grads(lambda *t, d=dilation: cases.lska(*t, d, backend='triton'), inputs, x)
        mlp = [t.to(stage.device) for t in cases.mlp_tensors(20, dtype, 8)]
        grad = cases.make_map((2, 8, 33, 50), dtype, 'contiguous', device=stage.device)
        found += cases.outputs_and_grads(lambda *t: cases.mlp(*t, backend='triton'), [x, *mlp], grad)
        if not all(t.isfinite().all() for t in found):
            raise SystemExit(f'{dtype}: a result is not finite')
    print('all finite')


# ---- operators ----


def compiled(stage: Stage) -> None:
    """An operator or a network beside the published one under torch.compile."""
    kind, *stage.what = stage.what
    (operators if kind == 'operators' else networks)(stage, compiled=True)


def operators(stage: Stage, compiled: bool = False) -> None:
    """The records of tools/benchmark.py for one operator and pass, with each of our kernels."""
    from mmlska.benchmark.contenders import op_case, stage_dims
    from mmlska.benchmark.measure import check_case, ratio, time_case
    from mmlska.benchmark.report import label
    from mmlska.benchmark.timing import kernel_times

    name, passes = stage.what or ('depthwise_gelu', 'forward+backward')
    op, _, k_size = name.partition('-')
    names = ('published', 'published-compiled' if compiled else 'published-channels-last', 'mmlska')
    sizes, dims, batch, arch = (128, 64, 32, 16), stage_dims(op, 'b'), 16, 'b'
    if stage.smoke:
        sizes, dims, batch = (3,), (2,), 1
        names = names if compiled else (names[0], names[-1])
    from mmlska.models.van_lska import ARCHS

    cases = []
    for size, dim, expansion in zip(sizes, dims, ARCHS[arch]['ffn_ratios']):
        case = op_case(
            op, dim, (size, size), batch=batch, k_size=int(k_size or 23), dtype=torch.bfloat16, passes=passes,
            device=stage.device, names=names, ratio=expansion,
        )  # fmt: skip
        checked = check_case(case, stage.device)
        for contender, values in checked.results.items():
            if 'failed' in values:
                print(label(case.settings), contender, values['failed'], flush=True)
        # The exact one is not needed any more, and large.
        cases.append((case._replace(exact=case.contenders['published']), checked))
        stage.synchronize()
    stage.turn()
    records = []
    seconds = 0.05 if stage.smoke else 0.3
    bandwidth = stage.ceilings().get('copy_bytes_per_second')
    for case, checked in cases:
        record = time_case(case, checked, stage.device, seconds)
        if 'mmlska' in checked.functions and passes == 'forward+backward':
            record['kernels'] = kernel_times(checked.functions['mmlska'], stage.device)
        records.append({**record, 'copy_bytes_per_second': bandwidth})
        stage.write(records=records)
        ours = record['contenders']['mmlska']
        if 'failed' in ours:
            stage.say(f'{label(record)} {passes}: mmlska {ours["failed"]}')
            continue
        against = [f'{ratio(record, "mmlska", n) or float("nan"):.2f}x {n}' for n in names[:-1]]
        saved = ratio(record, 'published', 'mmlska', 'saved_bytes')
        text = f'{label(record)} {passes}: {ours["median"] * 1e3:.0f} us, {", ".join(against)}'
        text += f', saved {saved:.2f}x' if saved else ''
        if bandwidth and passes == 'forward' and op == 'lska':
            text += f', {2 * case.contenders["mmlska"].x.nbytes / ours["median"] * 1e3 / bandwidth:.0%} of copy'
        stage.say(text)
    if any('failed' in r['contenders']['mmlska'] for r in records):
        raise SystemExit(3)


# ---- networks ----


class TrainingStep:
    """Forward, backward and AdamW on a backbone under autocast, with random images and random gradients of its maps.

    Args:
        network: Taken over and changed.
        x: (N, 3, H, W) in float32.
        memory_format: Of network and images.
        compiled: Whether torch.compile runs the network.
        exact: In float32, without autocast.
    """

    def __init__(
        self, network: nn.Module, x: Tensor, memory_format: torch.memory_format, compiled: bool, exact: bool = False
    ) -> None:
        self.network = network.to(x.device, memory_format=memory_format).train()
        self.run = torch.compile(self.network) if compiled else self.network
        self.x = x.contiguous(memory_format=memory_format)
        cuda = x.device.type == 'cuda'
        self.autocast = torch.autocast(x.device.type, torch.bfloat16, enabled=cuda and not exact)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-5, fused=cuda)
        self.upstream: list[Tensor] = []

    def backward(self) -> None:
        """Leave the gradients in the parameters."""
        with self.autocast:
            maps = self.run(self.x)
        if not self.upstream:
            generator = torch.Generator(self.x.device).manual_seed(1)
            noise = (torch.randn(m.shape, generator=generator, device=m.device) for m in maps)
            self.upstream = [torch.empty_like(m).copy_(n) for m, n in zip(maps, noise)]
        torch.autograd.backward(maps, self.upstream)

    def results(self) -> list[Tensor]:
        """What tells whether it is right: all gradients, as one vector."""
        self.backward()
        found = torch.cat([p.grad.float().flatten() for p in self.network.parameters()])
        self.optimizer.zero_grad()
        return [found]

    def __call__(self) -> None:
        self.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


class Inference:
    """A backbone in bfloat16 without gradients; the arguments are those of :class:`TrainingStep`."""

    def __init__(
        self, network: nn.Module, x: Tensor, memory_format: torch.memory_format, compiled: bool, exact: bool = False
    ) -> None:
        dtype = torch.float32 if exact else torch.bfloat16
        self.network = network.to(x.device, dtype).to(memory_format=memory_format).eval().requires_grad_(False)
        self.run = torch.compile(self.network) if compiled else self.network
        self.x = x.to(dtype).contiguous(memory_format=memory_format)

    def results(self) -> list[Tensor]:
        """What tells whether it is right: its maps."""
        return list(self())

    def __call__(self) -> tuple[Tensor, ...]:
        with torch.inference_mode():
            return self.run(self.x)


def build_backbone(stage: Stage, arch: str) -> nn.Module:
    from mmlska.models import VAN_LSKA

    torch.manual_seed(0)
    return VAN_LSKA(SMALL_ARCH if stage.smoke else arch, k_size=23, drop_path_rate=0.0)


@torch.no_grad()
def calibrate(network: nn.Module, x: Tensor) -> None:
    """Give BatchNorms the statistics of their inputs, without which the maps of a deep network grow beyond all numbers."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    network.train()(x)
    for norm in norms:
        norm.momentum = 0.1


def networks(stage: Stage, compiled: bool = False) -> None:
    """A training step, or inference, of a backbone: published, compiled and ours, as people run them."""
    import copy

    from mmlska.benchmark.contenders import NETWORK_TOLERANCE, _randomise
    from mmlska.benchmark.published import published_twin
    from mmlska.benchmark.timing import captured, peak_bytes, time_interleaved
    from mmlska.models import fold_for_inference

    arch, kind = stage.what or ('t', 'training')
    size, batch = (32, 2) if stage.smoke else (512, 16)
    torch.backends.cudnn.benchmark = True
    ours = build_backbone(stage, arch)
    _randomise(ours)
    published = published_twin(ours).to(stage.device)
    calibrate(published, torch.randn(2, 3, size, size, device=stage.device))
    ours.load_state_dict(published.state_dict())
    inference = kind == 'inference'
    make = Inference if inference else TrainingStep
    ours = fold_for_inference(ours.eval()) if inference else ours
    x = torch.randn(batch, 3, size, size).to(stage.device)
    nchw, nhwc = torch.contiguous_format, torch.channels_last
    plans = {
        'published': (published, nchw, False),
        'published-channels-last': (published, nhwc, False),
        'published-compiled': (published, nchw, True),
        'mmlska': (ours, nchw, False),
        'mmlska-channels-last': (ours, nhwc, False),
        'mmlska-compiled': (ours, nchw, True),
    }
    names = ('published', 'published-channels-last', 'mmlska', 'mmlska-channels-last')
    if compiled:
        names = ('published', 'published-compiled', 'mmlska', 'mmlska-compiled')
    elif stage.smoke:
        names = ('published', 'mmlska')
    exact = make(copy.deepcopy(published), x, nchw, False, exact=True)
    wanted = [t.cpu() for t in exact.results()]
    del exact
    stage.synchronize()
    functions, results = {}, {}
    for name in names:
        network, *how = plans[name]
        function = make(copy.deepcopy(network), x, *how)
        try:
            found = [t.cpu().float() for t in function.results()]
            error = max(((a - b).norm() / b.norm()).item() for a, b in zip(found, wanted))
            results[name] = dict(error=error)
            if not error <= NETWORK_TOLERANCE[torch.bfloat16]:
                raise ArithmeticError(f'relative error {error:.1e} against published in float32')
            for _ in range(2):
                function()
        except getattr(torch, 'AcceleratorError', ()):
            raise  # after it nothing on this GPU can be trusted
        except Exception as error:  # noqa: BLE001, one contender must not take the others with it
            results.setdefault(name, {})['failed'] = f'{type(error).__name__}: {str(error).strip()[:300]}'
            print(name, results[name]['failed'], flush=True)
        else:
            functions[name] = function
        stage.synchronize()
    stage.write(arch=arch, kind=kind, batch=batch, size=size, dtype='bfloat16', contenders=results)
    stage.turn()
    for name, function in functions.items():
        results[name]['peak_bytes'] = peak_bytes(function, stage.device)
    for name, timing in time_interleaved(functions, stage.device, 0.1 if stage.smoke else 3.0).items():
        results[name].update(timing._asdict(), images_per_second=batch / timing.median * 1e3)
    stage.write(contenders=results)
    if inference:
        graphs = {name: captured(function, stage.device) for name, function in functions.items()}
        for name, timing in time_interleaved(graphs, stage.device, 0.1 if stage.smoke else 2.0).items():
            results[name]['graph'] = timing.median
        stage.write(contenders=results)
    base = results['published']
    for name in functions:
        r = results[name]
        text = f'VAN-{arch.upper()} {kind} {name}: error {r["error"]:.1e}, {r["images_per_second"]:.0f} images/s'
        if 'median' in base:
            text += f', {base["median"] / r["median"]:.2f}x published'
        if r['peak_bytes'] and base.get('peak_bytes'):
            text += f', peak {r["peak_bytes"] / 1e9:.2f} GB, {r["peak_bytes"] / base["peak_bytes"]:.2f}x'
        if 'graph' in r and 'graph' in base:
            text += f'; as a CUDA graph {r["graph"]:.2f} ms, {base["graph"] / r["graph"]:.2f}x'
        stage.say(text)
    failed = [name for name in names if name not in functions]
    for name in failed:
        stage.say(f'{name}: {results[name]["failed"]}')
    if failed:
        raise SystemExit(3)


# ---- training ----


def make_classifier(classes: int, **options) -> nn.Module:
    from mmlska.models import VANLSKAClassifier

    torch.manual_seed(0)
    return VANLSKAClassifier('t', classes, k_size=23, **options)


def first_losses(device: torch.device, steps: int, smoke: bool) -> list[float]:
    """The losses of the first steps of a training in float32, on the same images with the same weights."""
    arch = dict(arch=SMALL_ARCH) if smoke else {}
    torch.manual_seed(0)
    if smoke:
        from mmlska.models import VANLSKAClassifier

        model = VANLSKAClassifier(**arch, num_classes=10, k_size=7, drop_path_rate=0.0)
    else:
        model = make_classifier(10, drop_path_rate=0.0)
    model = model.to(device).train()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(16, 3, 64, 64, generator=generator).to(device)
    labels = torch.randint(10, (16,), generator=generator).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def load_photos(stage: Stage) -> tuple[Tensor, Tensor, Tensor, Tensor, int, str]:
    """Training and validation photos and labels on the device, the number of classes, and what they are."""
    if stage.data:
        from mmlska.pretraining import TinyImageNet

        sets = [TinyImageNet(str(stage.data), data_prefix=dict(img=part)) for part in ('train', 'val')]
        classes = len(sets[0].metainfo['classes'])
        parts = [(s.images.permute(0, 3, 1, 2).contiguous().to(stage.device), s.labels.to(stage.device)) for s in sets]
        return *parts[0], *parts[1], classes, f'{classes} classes of Tiny-ImageNet'
    classes, each = (4, 8) if stage.smoke else (20, 500)
    generator = torch.Generator().manual_seed(0)
    grid = torch.stack(torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing='ij'))
    parts = []
    for count in (each, each // 4):
        labels = torch.arange(classes).repeat_interleave(count)
        waves = torch.randn(classes, 3, 2, generator=torch.Generator().manual_seed(7)) * 0.4
        phase = torch.rand(len(labels), 3, 1, 1, generator=generator) * 6.28
        images = torch.sin(torch.einsum('nkd,dhw->nkhw', waves[labels], grid) + phase) * 60 + 128
        images += torch.randn(images.shape, generator=generator) * 40
        parts.append((images.clamp(0, 255).to(torch.uint8).to(stage.device), labels.to(stage.device)))
    return *parts[0], *parts[1], classes, f'{classes} generated textures'


def training(stage: Stage) -> None:
    """The first losses beside the CPU's, then a training of the classifier in bfloat16 with autocast."""
    torch.backends.cudnn.allow_tf32 = False
    steps = 2 if stage.smoke else 5
    on_device = first_losses(stage.device, steps, stage.smoke)
    strict = os.environ.pop('MMLSKA_STRICT', '0')  # the CPU may run the reference
    on_cpu = first_losses(torch.device('cpu'), steps, stage.smoke)
    os.environ['MMLSKA_STRICT'] = strict
    difference = max(abs(a - b) / abs(b) for a, b in zip(on_device, on_cpu))
    stage.write(first_losses=on_device, first_losses_cpu=on_cpu, largest_difference=difference)
    stage.say(f'first {steps} losses in float32 differ from the CPU by {difference:.1e} at most (allowed 1e-3)')

    torch.backends.cudnn.benchmark = True
    images, labels, val_images, val_labels, classes, what = load_photos(stage)
    batch, seconds = (8, 1.0) if stage.smoke else (512, stage.training_seconds)
    if stage.smoke:
        from mmlska.models import VANLSKAClassifier

        model = VANLSKAClassifier(SMALL_ARCH, classes, k_size=7)
    else:
        model = make_classifier(classes)
    model = model.to(stage.device).train()
    mean, std = (
        torch.tensor(v, device=stage.device).view(1, 3, 1, 1) for v in ((124.0, 116.0, 104.0), (58.0, 57.0, 57.0))
    )
    cuda = stage.device.type == 'cuda'
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05, fused=cuda)
    autocast = torch.autocast(stage.device.type, torch.bfloat16)

    def step(index: Tensor, rate: float) -> Tensor:
        optimizer.param_groups[0]['lr'] = rate
        x = (images[index].float() - mean) / std
        x = x.flip(3) if torch.rand(()) < 0.5 else x
        with autocast if cuda else nullcontext():
            loss = nn.functional.cross_entropy(model(x).float(), labels[index], label_smoothing=0.1)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    step(torch.randint(len(labels), (batch,), device=stage.device), 0.0)
    stage.turn()
    losses, begin, seen = [], time.perf_counter(), 0
    while (spent := time.perf_counter() - begin) < seconds:
        # Cosine after a short rise, over the time rather than over steps.
        share = spent / seconds
        rate = 2e-3 * min(share / 0.05, 0.5 + 0.5 * torch.cos(torch.tensor(3.14159 * share)).item())
        losses.append(step(torch.randint(len(labels), (batch,), device=stage.device), rate))
        seen += batch
        if len(losses) % 20 == 0:
            torch.stack(losses[-20:]).sum().item()  # the CPU must not run away from the GPU
    values = torch.stack(losses).float().tolist()
    spent = time.perf_counter() - begin
    model.eval()
    right = 0
    with torch.inference_mode(), autocast if cuda else nullcontext():
        for part, answer in zip(val_images.split(1000), val_labels.split(1000)):
            right += (model((part.float() - mean) / std).argmax(1) == answer).sum().item()
    edge = max(len(values) // 20, 1)
    before, after = sum(values[:edge]) / edge, sum(values[-edge:]) / edge
    stage.write(
        data=what, batch=batch, steps=len(values), seconds=spent, images_per_second=seen / spent,
        losses=[round(v, 4) for v in values[:: max(len(values) // 200, 1)]], loss_at_start=before, loss_at_end=after,
        finite=all(v == v and abs(v) < 1e4 for v in values), top1=100 * right / len(val_labels),
    )  # fmt: skip
    stage.say(
        f'{what}, bf16, {spent:.0f} s: {seen / spent:.0f} images/s, loss {before:.2f} to {after:.2f}, '
        f'top-1 {100 * right / len(val_labels):.1f} % of {len(val_labels)} others'
    )
    if not stage.result['finite'] or (not stage.smoke and (after > before or difference > 1e-3)):
        raise SystemExit(3)


# ---- profile ----


class Accounts(TorchDispatchMode):
    """Names each PyTorch operator for the profiler, and counts the bytes that it must move at least and its FLOPs."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: dict[str, int] = defaultdict(int)
        self.flops: dict[str, int] = defaultdict(int)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        packet = func._overloadpacket
        name = f'operator:{packet._qualified_op_name}'
        with record_function(name):
            out = func(*args, **kwargs)
        tensors = {t.data_ptr(): t.nbytes for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor)}
        self.bytes[name] += sum(tensors.values())
        if packet in flop_registry:
            self.flops[name] += flop_registry[packet](*args, **kwargs, out_val=out)
        return out


def profile_step(stage: Stage) -> None:
    """Where the time of VAN-B's training step goes: by kernel, and by operator with its shares of the two ceilings."""
    from mmlska.benchmark.timing import kernel_times

    size, batch = (32, 2) if stage.smoke else (512, 16)
    torch.backends.cudnn.benchmark = True
    x = torch.randn(batch, 3, size, size, device=stage.device)
    step = TrainingStep(build_backbone(stage, 'b'), x, torch.contiguous_format, compiled=False)
    for _ in range(3):
        step()
    stage.turn()
    kernels = kernel_times(step, stage.device)
    stage.write(kernels=kernels[:40], launches=sum(kernel['calls'] for kernel in kernels))
    cuda = stage.device.type == 'cuda'
    accounts = Accounts()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as profiled, accounts:
        step()
        if cuda:
            torch.cuda.synchronize()
    times: dict[str, float] = defaultdict(float)
    for event in profiled.key_averages():
        if event.key.startswith('operator:') and 'CPU' in str(event.device_type):
            times[event.key] += event.device_time_total if cuda else event.cpu_time_total
    total = sum(kernel['us'] for kernel in kernels) or sum(times.values())
    ceilings = stage.ceilings()
    copy, rate = (ceilings.get(k) for k in ('copy_bytes_per_second', 'bf16_flops_per_second'))
    rows = []
    for name in sorted(times, key=times.get, reverse=True)[:15]:
        seconds = times[name] / 1e6
        rows.append(
            dict(
                operator=name.removeprefix('operator:'),
                us=round(times[name], 1),
                share=times[name] / total if total else 0.0,
                of_bandwidth=accounts.bytes[name] / seconds / copy if copy and seconds else None,
                of_matrix_rate=accounts.flops[name] / seconds / rate if rate and seconds else None,
            )
        )
    stage.write(operators=rows, kernel_us=total)
    stage.say(f'kernels of a step take {total / 1e3:.1f} ms')
    for row in rows:
        shares = [
            f'{row[k]:.0%} of {n}' for k, n in (('of_bandwidth', 'copy'), ('of_matrix_rate', 'matrix rate')) if row[k]
        ]
        stage.say(f'{row["share"]:6.1%} {row["operator"]} {row["us"] / 1e3:.2f} ms {", ".join(shares)}')
    for kernel in kernels[:15]:
        stage.say(
            f'{kernel["us"] / total:6.1%} kernel {kernel["name"][:70]} x{kernel["calls"]} {kernel["us"] / 1e3:.2f} ms'
        )


# ---- tune ----

# Each list is of changes to the settings of a kernel, tried one by one.
CANDIDATES: dict[str, list[dict]] = {
    'chain': [
        {},
        dict(maxnreg=None),
        dict(maxnreg=None, max_warps=4),
        dict(max_warps=4),
        dict(stages=2),
        dict(stages=1),
        dict(step=(32, 32)),
        dict(step=(128, 32)),
        dict(tile=(64, 64)),
        dict(per_warp=512),
        dict(per_warp=512, maxnreg=None, max_warps=16),
        dict(per_warp=2048),
        dict(per_warp=256),
    ],
    'pointwise': [
        {},
        dict(block=64),
        dict(block=64, warps=(8, 8)),
        dict(inner=32),
        dict(inner=32, stages=4),
        dict(stages=4),
        dict(stages=2),
        dict(warps=(4, 4)),
        dict(pixels=(64, 64)),
        dict(pixels=(256, 64)),
        dict(block=256, warps=(8, 8)),
        dict(block=64, pixels=(256, 64)),
    ],
    'pointwise_before': [{}, dict(inner=64), dict(stages=4), dict(pixels=(64, 64)), dict(block=64)],
    'pointwise_after': [{}, dict(inner=64), dict(stages=4), dict(stages=2), dict(pixels=(64, 64)), dict(warps=(8, 8))],
    'pointwise_gradient': [
        {},
        dict(pixels=(128, 64)),
        dict(pixels=(32, 32)),
        dict(stages=4),
        dict(stages=2),
        dict(programs=264),
        dict(programs=1024),
        dict(block=128, warps=8),
        dict(block=128, warps=4),
        dict(block=128, warps=8, programs=264, pixels=(128, 64)),
    ],
    'band_gradient': [
        {},
        dict(warps=(2, 2)),
        dict(warps=(1, 4)),
        dict(stages=2),
        dict(programs=264),
        dict(programs=264, stages=2),
        dict(programs=1024),
    ],
    'depthwise': [
        {},
        dict(rows=16),
        dict(rows=64),
        dict(rows=128),
        dict(elements=512),
        dict(elements=2048),
        dict(elements=2048, warps=8),
        dict(elements=512, warps=2),
        dict(elements=256, warps=2),
        dict(elements=1024, warps=8),
        dict(elements=1024, warps=2),
    ],
}


def tune(stage: Stage) -> None:
    """Time a kernel with other settings at the four stages of VAN-B, after its results were found to be the same."""
    from mmlska.benchmark.timing import captured, time_interleaved
    from mmlska.ops import gpu_launch

    kernel = stage.what[0] if stage.what else 'pointwise'
    if kernel == 'libraries':
        pointwise(stage)
        return
    shapes = [(16, 64, 128, 128), (16, 128, 64, 64), (16, 320, 32, 32), (16, 512, 16, 16)]
    candidates = CANDIDATES[kernel]
    if stage.smoke:
        shapes, candidates = [(1, 2, 5, 4)], candidates[:2]
    elif kernel == 'depthwise':
        shapes = [(n, c * e, h, w) for (n, c, h, w), e in zip(shapes, (8, 8, 4, 4))]
    names = ('depthwise', 'depthwise_backward') if kernel == 'depthwise' else (kernel,)
    original = gpu_launch.settings
    prepared = []
    on_shape = {shape: launches(kernel, shape, stage.device) for shape in shapes}
    pool = None if stage.smoke else torch.cuda.graph_pool_handle()
    for shape, changes in itertools.product(shapes, candidates):
        functions = on_shape[shape]

        def changed(name, x, changes=changes):
            return {**original(name, x), **(changes if name in names else {})}

        gpu_launch.settings = changed
        for part, function in functions.items():
            try:
                gpu_launch._compiled.clear()
                found = [t for t in tree_leaves(function()) if isinstance(t, Tensor)]
                gpu_launch.settings = original
                gpu_launch._compiled.clear()
                wanted = [t for t in tree_leaves(function()) if isinstance(t, Tensor)]
                gpu_launch.settings = changed
                gpu_launch._compiled.clear()
                # Partial sums of another number of programs differ in shape; their sums do not.
                same = all(
                    torch.allclose(
                        a.float().sum(0), b.float().sum(0), rtol=2e-2, atol=0.05 * b.float().abs().max().item() + 1e-6
                    )
                    for a, b in zip(found, wanted)
                    if a.shape[1:] == b.shape[1:]
                )
                prepared.append((shape, part, changes, captured(function, stage.device, pool) if same else None))
            except Exception as error:  # noqa: BLE001, a candidate that does not compile is a result too
                print(kernel, part, shape, changes, f'{type(error).__name__}: {str(error)[:160]}', flush=True)
        gpu_launch.settings = original
    stage.turn()
    rows = []
    prepared.sort(key=lambda entry: (shapes.index(entry[0]), entry[1]))
    for (shape, part), group in itertools.groupby(prepared, key=lambda entry: entry[:2]):
        group = list(group)
        good = {str(i): entry[3] for i, entry in enumerate(group) if entry[3]}
        timings = time_interleaved(good, stage.device, 0.05 if stage.smoke else 0.5)
        found = [
            dict(
                kernel=part, shape=list(shape), changes=entry[2], us=timings[str(i)].median * 1e3 if entry[3] else None
            )
            for i, entry in enumerate(group)
        ]
        rows += found
        stage.write(rows=rows)
        timed = sorted((r for r in found if r['us']), key=lambda r: r['us'])
        now = next((r['us'] for r in timed if not r['changes']), float('nan'))
        best = ', '.join(f'{r["us"]:.1f} {r["changes"] or "as now"}' for r in timed[:3])
        wrong = sum(entry[3] is None for entry in group)
        stage.say(
            f'{part} {"x".join(map(str, shape))}: now {now:.1f} us; best {best}' + (f'; {wrong} wrong' if wrong else '')
        )
    if not rows or any(row['us'] is None for row in rows):
        raise SystemExit(3)


def pointwise(stage: Stage) -> None:
    """Time the ways to run a 1x1 convolution, forward and with its backward pass, for the shapes of VAN-B."""
    from mmlska.benchmark.timing import captured, time_interleaved

    def conv(x, weight, bias):
        return nn.functional.conv2d(x, weight[:, :, None, None], bias)

    def bmm(x, weight, bias):
        y = torch.bmm(weight.expand(x.shape[0], -1, -1), x.flatten(2)) + bias[:, None]
        return y.unflatten(2, x.shape[2:])

    def baddbmm(x, weight, bias):
        y = torch.baddbmm(bias[:, None], weight.expand(x.shape[0], -1, -1), x.flatten(2))
        return y.unflatten(2, x.shape[2:])

    def matmul(x, weight, bias):
        return (weight @ x.flatten(2) + bias[:, None]).unflatten(2, x.shape[2:])

    torch.backends.cudnn.benchmark = True
    pool = torch.cuda.graph_pool_handle()
    plans = []
    for (c, size), ratio in zip(((64, 128), (128, 64), (320, 32), (512, 16)), (8, 8, 4, 4)):
        for inputs, outputs in ((c, c), (c, ratio * c), (ratio * c, c)):
            x = torch.randn(16, inputs, size, size, device=stage.device, dtype=torch.bfloat16, requires_grad=True)
            last = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
            weight = (torch.randn(outputs, inputs, device=stage.device) * inputs**-0.5).bfloat16().requires_grad_()
            bias = torch.randn(outputs, device=stage.device).bfloat16().requires_grad_()
            grad = torch.randn(16, outputs, size, size, device=stage.device, dtype=torch.bfloat16)
            ways = {
                'conv': (conv, x),
                'conv channels_last': (conv, last),
                'bmm': (bmm, x),
                'baddbmm': (baddbmm, x),
                'matmul': (matmul, x),
            }
            for passes in ('forward', 'forward+backward'):
                graphs = {}
                for name, (way, data) in ways.items():
                    upstream = grad.contiguous(memory_format=torch.channels_last) if data is last else grad

                    def run(way=way, data=data, upstream=upstream, passes=passes, weight=weight, bias=bias):
                        if passes == 'forward':
                            with torch.no_grad():
                                return way(data, weight, bias)
                        return torch.autograd.grad(way(data, weight, bias), (data, weight, bias), upstream)

                    graphs[name] = captured(run, stage.device, pool), run
                plans.append((f'1x1 {inputs} to {outputs} at {size}, {passes}', x.nbytes + grad.nbytes, graphs))
    stage.turn()
    copy = stage.ceilings().get('copy_bytes_per_second')
    rows = []
    for label, least, graphs in plans:
        timings = time_interleaved({name: graph for name, (graph, _) in graphs.items()}, stage.device, 0.3)
        times = {name: timing.median * 1e3 for name, timing in timings.items()}
        rows.append(dict(case=label, least_us=least / copy * 1e6 if copy else None, us=times))
        stage.write(rows=rows)
        floor = f', one read and one write {least / copy * 1e6:.0f}' if copy else ''
        stage.say(f'{label}: ' + ', '.join(f'{n} {t:.0f}' for n, t in times.items()) + f' us{floor}')


# Width of an MLP over that of its block, by the block's.
RATIOS = {64: 8, 128: 8, 320: 4, 512: 4}


def launches(kernel: str, shape: tuple[int, ...], device: torch.device) -> dict[str, Callable[[], object]]:
    """What launches a kernel on random maps as an LSKA of K = 23, or an MLP, does."""
    from mmlska.ops import gpu_launch as g

    n, c, h, w = shape
    generator = torch.Generator().manual_seed(0)

    def rand(*size: int, scale: float = 1.0) -> Tensor:
        return (torch.randn(size, generator=generator) * scale).to(device, torch.bfloat16)

    x, y = rand(*shape), rand(*shape)
    bias, weight = rand(c), rand(c, c, scale=c**-0.5)
    kernel3 = rand(c, 1, 3, 3)
    taps = g.Taps(rand(c, 1, 1, 5), rand(c, 1, 5, 1), rand(c, 1, 1, 7), rand(c, 1, 7, 1))

    def chain():
        ver, hor = g.axes_of(x, taps, 3)
        return g.launch_chain(x, ver, hor, g.launch_bands(x, taps, ver, hor), (bias,) * 4)

    def band_gradient(vertical: bool):
        axes = g.axes_of(x, taps, 3)
        bands = g.launch_bands(x, taps, *axes)
        return g.launch_band_gradient(x, y, *(axes if vertical else axes[::-1]), bands)

    # The MLP's 1x1s, wide in and wide out.
    wide = rand(n, RATIOS.get(c, 2) * c, h, w) if kernel.startswith('pointwise') else x
    into, back = rand(wide.shape[1], c, scale=c**-0.5), rand(c, wide.shape[1], scale=wide.shape[1] ** -0.5)
    return {
        'chain': lambda: {'chain with its bands': chain},
        'pointwise': lambda: {
            'pointwise to wide': lambda: g.launch_pointwise(into, wide[0, :, 0, 0].contiguous(), x, g.new_map(wide)),
            'pointwise from wide': lambda: g.launch_pointwise(back, bias, wide, g.new_map(x)),
        },
        'pointwise_before': lambda: {
            'pointwise before': lambda: g.launch_pointwise(weight.t(), None, x, g.new_map(x), before=y)
        },
        'pointwise_after': lambda: {
            'pointwise after': lambda: g.launch_pointwise(weight, bias, x, g.new_map(x), after=y)
        },
        'pointwise_gradient': lambda: {
            'pointwise_gradient scaled': lambda: g.launch_pointwise_gradient(x, y, factor=x),
            'pointwise_gradient to wide': lambda: g.launch_pointwise_gradient(wide, x),
            'pointwise_gradient from wide': lambda: g.launch_pointwise_gradient(x, wide),
        },
        'band_gradient': lambda: {
            'band_gradient vertical': lambda: band_gradient(True),
            'band_gradient horizontal': lambda: band_gradient(False),
        },
        'depthwise': lambda: {
            'depthwise': lambda: g.launch_depthwise(x, kernel3, bias)[0],
            'depthwise backward': lambda: g.launch_depthwise(x, kernel3, bias, y, g.new_map(x)),
        },
    }[kernel]()


RUN = dict(
    environment=environment, correct=correct, sanitizer=sanitizer, small=small, operators=operators, networks=networks, compiled=compiled,
    training=training, profile=profile_step, tune=tune,
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('stage', choices=list(RUN))
    parser.add_argument('what', nargs='*', help='the part of the stage')
    parser.add_argument('--folder', type=Path, required=True, help='where results and signals lie')
    parser.add_argument('--name', required=True, help='of this process')
    parser.add_argument('--wait', action='store_true', help='measure only when NAME.go appears')
    parser.add_argument('--smoke', action='store_true')
    parser.add_argument('--data', type=Path)
    parser.add_argument('--training-seconds', type=float, default=60.0)
    parser.add_argument('--processes', type=int, default=2)
    args = parser.parse_args()
    stage = Stage(args)
    from mmlska.benchmark.timing import own_stream

    with own_stream(stage.device):
        RUN[args.stage](stage)


if __name__ == '__main__':
    main()
