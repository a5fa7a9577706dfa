"""Stages of the GPU check: operators and whole networks beside the published ones, eager and compiled."""

from __future__ import annotations

import copy

import torch
from gpu_stage import SMALL_ARCH, Stage, kernel_times
from torch import Tensor, nn

from mmlska.benchmark.cases import NETWORK_TOLERANCE, op_case, randomise, stage_dims
from mmlska.benchmark.measure import check_case, ratio, time_case
from mmlska.benchmark.published import published_twin
from mmlska.benchmark.report import label
from mmlska.benchmark.timing import captured, peak_bytes, time_interleaved
from mmlska.designs import ARCHS
from mmlska.models import VAN_LSKA, fold_for_inference

# ---- operators ----


def compiled(stage: Stage) -> None:
    """An operator or a network beside the published one under torch.compile."""
    kind, *stage.what = stage.what
    (operators if kind == 'operators' else networks)(stage, compiled=True)


def operators(stage: Stage, compiled: bool = False) -> None:
    """The records of tools/benchmark.py for one operator and pass, with each of our kernels."""
    name, passes = stage.what or ('depthwise_gelu', 'forward+backward')
    op, _, k_size = name.partition('-')
    names = ('published', 'published-compiled' if compiled else 'published-channels-last', 'mmlska')
    sizes, dims, batch, arch = (128, 64, 32, 16), stage_dims(op, 'b'), 16, 'b'
    if stage.smoke:
        sizes, dims, batch = (3,), (2,), 1
        names = names if compiled else (names[0], names[-1])
    cases = []
    for size, dim, expansion in zip(sizes, dims, ARCHS[arch]['ffn_ratios']):
        case = op_case(
            op, dim, (size, size), batch=batch, k_size=int(k_size or 23), dtype=torch.bfloat16, passes=passes,
            device=stage.device, names=names, ratio=expansion,
        )  # fmt: skip
        checked = check_case(case)
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
        record = time_case(case, checked, seconds)
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
        # Capturable: its count of steps lies on the GPU, so that a CUDA graph can hold the step.
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-5, fused=cuda, capturable=cuda)
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
    arch, kind = stage.what or ('t', 'training')
    size, batch = (32, 2) if stage.smoke else (512, 16)
    torch.backends.cudnn.benchmark = True
    ours = build_backbone(stage, arch)
    randomise(ours)
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
    stage.synchronize()
    graphs = {}
    for name, function in functions.items():
        try:
            graphs[name] = captured(function, stage.device)
        except getattr(torch, 'AcceleratorError', ()):
            raise  # as above
        except RuntimeError as error:  # one contender that cannot be captured must not take the others with it
            results[name]['not_captured'] = str(error).strip()[:300]
            print(name, 'not captured:', results[name]['not_captured'], flush=True)
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
