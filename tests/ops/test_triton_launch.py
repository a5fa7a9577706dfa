"""What is planned and compiled once is launched again for equal arguments."""

from __future__ import annotations

import torch
from triton_cases import DEVICE

from mmlska.ops.triton import launch


class Kernel:
    """A Triton kernel that notes its launches, Triton's own and those of what it compiled."""

    arg_names = ('x', 'other', 'length', 'scale', 'BLOCK', 'FLAG')

    def __init__(self) -> None:
        self.slow, self.fast = [], []

    def __getitem__(self, grid):
        def launch(*args, **rest):
            self.slow.append((grid, args, rest))
            return Compiled(self, len(self.slow))

        return launch


class Compiled:
    def __init__(self, kernel: Kernel, number: int) -> None:
        self.kernel, self.number = kernel, number

    def __getitem__(self, grid):
        return lambda *args: self.kernel.fast.append((self.number, grid, args))


def test_compiled_kernels_are_kept_for_equal_arguments(monkeypatch):
    monkeypatch.setattr(launch, '_compiled', {})
    monkeypatch.setattr(launch, '_keeps_kernels', lambda: True)
    kernel, x = Kernel(), torch.empty(64, device=DEVICE)

    def run(x, length):
        plan = launch.Plan((3,), (length, 1.0), dict(FLAG=True, BLOCK=16, num_warps=4))
        launch.launch(kernel, (length,), (x, None), lambda: plan)

    run(x, 5)
    run(x, 5)
    assert len(kernel.slow) == 1
    # In the order of the kernel's parameters, without options; tensors as addresses.
    assert kernel.fast == [(1, (3, 1, 1), (x.data_ptr(), None, 5, 1.0, 16, True))]
    run(x, 6)
    run(x.half(), 5)
    assert len(kernel.slow) == 3
    run(torch.empty(8, device=DEVICE), 5)
    assert len(kernel.fast) == 2
    # Compiled for addresses that 16 divides.
    run(x[1:], 5)
    run(x[1:], 5)
    assert len(kernel.slow) == 5
    assert len(kernel.fast) == 2
