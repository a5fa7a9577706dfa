"""Functions are timed in turns."""

from small_cases import CPU

from mmlska.benchmark.timing import copy_bandwidth, time_interleaved


def test_every_function_is_called_in_turn():
    seen = []
    functions = {name: lambda name=name: seen.append(name) for name in 'abc'}
    timings = time_interleaved(functions, CPU, seconds=0.0)
    assert list(timings) == ['a', 'b', 'c']
    for name, timing in timings.items():
        assert 0 <= timing.quartile_1 <= timing.median <= timing.quartile_3
        assert timing.calls >= 5
        assert seen.count(name) > timing.calls  # the warm-up is not among those counted


def test_copy_bandwidth_is_that_of_some_computer():
    assert 1e8 < copy_bandwidth(CPU, megabytes=16) < 1e13
