"""A stage of the GPU check: where the time of a training step goes."""

from __future__ import annotations

import cProfile
import pstats
from collections import defaultdict
from pathlib import Path

import torch
from gpu_speed import TrainingStep, build_backbone
from gpu_stage import Stage, kernel_times
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from mmlska.models import LSKA


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
    stage.write(operators=rows, kernel_us=total, launching=launching(stage))
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
    for row in stage.result['launching'][:8]:
        stage.say(f'{row["us"]:6.1f} us of launching LSKA forward and backward: {row["function"]} x{row["calls"]}')


def launching(stage: Stage) -> list[dict]:
    """What the CPU does to launch LSKA's kernels forward and backward on a small map: own time and calls of its functions.

    The profiler makes the functions of Python look longer than they are beside those in C.
    """
    channels, size, k_size, count = (2, 4, 7, 1) if stage.smoke else (64, 16, 23, 100)
    x = torch.randn(2, channels, size, size, device=stage.device, dtype=torch.bfloat16)
    attention = LSKA(channels, k_size).to(stage.device, torch.bfloat16)
    parameters = [p.detach() for conv in attention.children() for p in (conv.weight, conv.bias)]
    dilation, calls = attention.DW_D_conv_h.dilation[1], torch.ops.mmlska_triton

    def run() -> None:
        y, kept = calls.lska_training(x, *parameters, dilation, False)
        # In this thread, for autograd calls it in one that the profiler does not see.
        calls.lska_backward(y, x, kept, *parameters, dilation, False)

    run()
    profiler = cProfile.Profile()
    profiler.runcall(lambda: [run() for _ in range(count)])
    found = [
        dict(function=f'{Path(file).name}:{name}', calls=total / count, us=round(1e6 * own / count, 2))
        for (file, _, name), (_, total, own, _, _) in pstats.Stats(profiler).stats.items()
    ]
    return sorted(found, key=lambda row: -row['us'])[:25]
