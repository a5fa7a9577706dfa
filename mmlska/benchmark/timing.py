"""Time functions against each other: interleaved, so that whatever else the machine does meets them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Function = Callable[[], object]


class Timing(NamedTuple):
    """Milliseconds of one call."""

    median: float
    quartile_1: float
    quartile_3: float
    calls: int


def time_interleaved(functions: dict[str, Function], device: torch.device, seconds: float = 3.0) -> dict[str, Timing]:
    """Time functions in turns: each round times every one of them, starting with another one each time.

    Args:
        functions: What to time, by name.
        device: Where they run. On a GPU the time is that between two events on the stream.
        seconds: Time to spend in all; every function gets at least five rounds.

    Returns:
        Median and quartiles over the rounds for each function.
    """
    names = list(functions)
    calls = {}
    for name in names:  # warm up, and find how many calls make a span that the clock resolves
        functions[name]()
        span = _span(functions[name], device, 1)
        calls[name] = max(1, min(50, round(0.004 / span)))
        _span(functions[name], device, calls[name])
    spans: dict[str, list[float]] = {name: [] for name in names}
    start, turn = time.perf_counter(), 0
    while turn < 5 or (time.perf_counter() - start < seconds and turn < 200):
        for i in range(len(names)):
            name = names[(i + turn) % len(names)]
            spans[name].append(_span(functions[name], device, calls[name]) / calls[name] * 1e3)
        turn += 1
    timings = {}
    for name, values in spans.items():
        first, median, third = statistics.quantiles(values, n=4, method='inclusive')
        timings[name] = Timing(median, first, third, calls=len(values) * calls[name])
    return timings


def captured(function: Function, device: torch.device, pool: tuple | None = None) -> Function:
    """Record a function's kernels as one CUDA graph: to replay it costs the CPU nothing, so its time is the GPU's alone.

    The inputs stay where they are, so a small map may still be in the GPU's cache, as it is after the layer before in a network.

    Args:
        function: What to record; its inputs must stay alive.
        device: Where it runs.
        pool: Of ``torch.cuda.graph_pool_handle``: graphs with the same one share the memory of their results.

    Returns:
        What replays the graph; without a GPU the function itself.
    """
    if device.type != 'cuda':
        return function
    current = torch.cuda.current_stream(device)
    stream = torch.cuda.Stream(device) if current == torch.cuda.default_stream(device) else current
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        for _ in range(3):  # what compiles, chooses an algorithm or makes a handle must do so before
            function()
    torch.cuda.synchronize(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, stream=stream):
        function()
    current.wait_stream(stream)
    return graph.replay


def own_stream(device: torch.device) -> AbstractContextManager:
    """A stream that graphs can be captured on: autograd waits for the stream of a parameter's first gradient, which must be the same."""
    return torch.cuda.stream(torch.cuda.Stream(device)) if device.type == 'cuda' else nullcontext()


def _span(function: Function, device: torch.device, calls: int) -> float:
    """Seconds that some calls take together."""
    if device.type == 'cuda':
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(calls):
            function()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3
    begin_time = time.perf_counter()
    for _ in range(calls):
        function()
    return time.perf_counter() - begin_time


def copy_bandwidth(device: torch.device, megabytes: int = 256) -> float:
    """Measure how fast this machine copies a tensor that fits in no cache: bytes read and written in a second."""
    source = torch.ones(megabytes * 2**18, device=device)
    target = torch.empty_like(source)
    timing = time_interleaved({'copy': lambda: target.copy_(source)}, device, 1.0)['copy']
    return 2 * source.numel() * source.element_size() / (timing.median / 1e3)


class DenseYardstick:
    """A 1x1 convolution of a shape that suits every library, whose speed is what dense convolutions can be had for on this machine."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        # More images for a GPU, which one of them would not fill.
        tensors = torch.randn(16 if device.type == 'cuda' else 1, 512, 64, 64), torch.randn(512, 512, 1, 1)
        self.x, self.weight = (t.to(device, dtype).to(memory_format=torch.channels_last) for t in tensors)
        self.flops = 2 * 512 * self.x.numel()

    def __call__(self) -> Tensor:
        with torch.inference_mode():
            # Kept until the next one is there, or its memory would go back to the system and cost page faults.
            self.y = F.conv2d(self.x, self.weight)
        return self.y


def operator_shares(function: Function, device: torch.device, count: int = 8) -> dict[str, float]:
    """Profile one call: the operators that take the largest shares of its time, largest first."""
    function()
    with torch.profiler.profile() as profile:
        function()
    kind = 'self_device_time_total' if device.type == 'cuda' else 'self_cpu_time_total'
    times = {event.key: getattr(event, kind) for event in profile.key_averages()}
    total = sum(times.values()) or 1
    return {name: round(times[name] / total, 3) for name in sorted(times, key=times.get, reverse=True)[:count]}


def peak_bytes(function: Function, device: torch.device) -> int | None:
    """Measure the most memory that a call takes beyond what is allocated before it; None without a GPU, where torch keeps no count."""
    if device.type != 'cuda':
        return None
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    function()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before
