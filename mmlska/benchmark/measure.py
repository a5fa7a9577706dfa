"""Run cases: check every contender, then time those that are right."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from ..cost import saved_bytes
from .cases import Case
from .timing import DenseYardstick, captured, operator_shares, peak_bytes, time_interleaved


class Checked(NamedTuple):
    """The contenders of a case that are right, and what is known of all of them."""

    functions: dict[str, Callable[[], object]]
    results: dict[str, dict]


def check_case(case: Case) -> Checked:
    """Compare the contenders of a case with its exact one, and count their memory; nothing is timed yet.

    Returns:
        The functions to time and, for each contender, ``error`` (the largest relative error) and, where that is within the tolerance,
        ``saved_bytes`` for the backward pass and ``peak_bytes`` (on GPU). A contender that is wrong or that failed has ``failed``.
    """
    training = case.settings['pass'] == 'forward+backward'
    results: dict[str, dict] = {}
    functions = {}
    for name, contender in case.contenders.items():
        try:
            error = max(errors(case, name))
            if not error <= case.tolerance:
                results[name] = dict(error=error, failed=f'relative error {error:.1e} is above {case.tolerance:.0e}')
                continue
            function = contender.forward_backward if training else contender.forward
            results[name] = dict(error=error, peak_bytes=peak_bytes(function, contender.x.device))
            if training and name != 'published-compiled':  # a compiled graph saves behind the hooks that count
                results[name]['saved_bytes'] = saved_bytes(contender.outputs, contender.parameters)
        except torch.OutOfMemoryError as error:
            results[name] = dict(failed=f'out of memory: {_first_line(error)}')
        except Exception as error:  # noqa: BLE001, a compiler that fails on one contender must not lose the others' times
            results[name] = dict(failed=f'{type(error).__name__}: {_first_line(error)}'[:300])
        else:
            functions[name] = function
    return Checked(functions, results)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition('\n')[0]


def errors(case: Case, name: str) -> Iterator[float]:
    """Relative errors of a contender: of each output, and of each gradient where the case has a backward pass."""
    contender, exact = case.contenders[name], case.exact
    inference = case.settings['pass'] == 'forward'
    with torch.no_grad() if inference else nullcontext():
        found, wanted = contender.outputs(), exact.outputs()
    pairs = [(found, wanted)] if isinstance(found, Tensor) else list(zip(found, wanted))
    if not inference:
        grads, exact_grads = contender.forward_backward(), exact.forward_backward()
        # A bias before a BatchNorm has the gradient zero: what comes out is rounding, measured against its largest neighbour.
        share = 1e-3 if contender.x.dtype == torch.float32 else 3e-2
        floor = share * max(g.norm().item() for g in exact_grads)
        yield from (_relative(a, b, floor) for a, b in zip(grads, exact_grads))
    yield from (_relative(a, b, 0.0) for a, b in pairs)


def _relative(found: Tensor, wanted: Tensor, floor: float) -> float:
    wanted = wanted.double()
    return ((found.double() - wanted).norm() / max(wanted.norm().item(), floor, 1e-30)).item()


def time_case(case: Case, checked: Checked, seconds: float, profile: bool = False) -> dict:
    """Time the contenders of a case that are right.

    On a GPU ``median`` is the time of a CUDA graph of the call, which is the GPU's alone, and ``eager`` that of the call itself, which for
    small maps is the CPU's.

    Args:
        case: From :mod:`mmlska.benchmark.cases`.
        checked: Its :func:`check_case`.
        seconds: Time to spend on timing.
        profile: Also record the share of the time that each operator takes, as ``operators``.

    Returns:
        The settings, ``dense_ms`` where there are dense convolutions (what they alone would take at the speed of a large one, timed in
        the same rounds) and, for each contender, what :func:`check_case` found and milliseconds (``median``, ``quartile_1``,
        ``quartile_3``).
    """
    functions, results = checked
    device = case.exact.x.device
    limit, timed = {}, functions
    if device.type == 'cuda':
        timed = {}
        for name, function in functions.items():
            try:
                timed[name] = captured(function, device)
            except RuntimeError as error:  # a contender that cannot be captured must not lose the others' times
                results[name]['failed'] = f'not captured: {_first_line(error)}'[:300]
        functions = {name: functions[name] for name in timed}
        for name, timing in time_interleaved(functions, device, seconds / 3).items():
            results[name]['eager'] = timing.median
    if case.dense_flops and timed:
        yardstick = DenseYardstick(getattr(torch, case.settings['dtype']), device)
        timings = time_interleaved({**timed, 'dense': captured(yardstick, device)}, device, seconds)
        limit = {'dense_ms': timings.pop('dense').median * case.dense_flops / yardstick.flops}
    else:
        timings = time_interleaved(timed, device, seconds)
    for name, timing in timings.items():
        results[name].update(timing._asdict())
    if profile:
        for name, function in functions.items():
            results[name]['operators'] = operator_shares(function, device)
    gc.collect()
    return {**case.settings, **limit, 'contenders': results}


def ratio(record: dict, name: str, against: str = 'published', key: str = 'median') -> float | None:
    """How many times faster (or smaller) a contender was than another; None where one of them has no number.

    Example:
        >>> ratio({'contenders': {'published': {'median': 6.0}, 'mmlska': {'median': 2.0}}}, 'mmlska')
        3.0
    """
    top, bottom = (record['contenders'].get(n, {}).get(key) for n in (against, name))
    return top / bottom if top and bottom else None
