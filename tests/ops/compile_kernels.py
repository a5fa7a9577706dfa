"""Compiles every Triton kernel as operators.py launches it, for NVIDIA's Ampere and Hopper, which needs no GPU.

Prints one line for each kernel, dtype and generation. Fails if one does not compile, takes more shared memory than a
multiprocessor has, or multiplies matrices without tensor cores.
"""

from __future__ import annotations

import re

import ops_cases as cases
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mmlska.ops.triton import chain, chain_gradient, depthwise, launch, operators, pointwise

POINTERS = {torch.float32: '*fp32', torch.float16: '*fp16', torch.bfloat16: '*bf16'}
# Those that are launched; the others are parts of them.
KERNELS = {
    chain: ('band_matrices', 'chain'),
    chain_gradient: ('band_gradient', 'tap_gradient', 'parameter_gradient'),
    depthwise: ('depthwise',),
    pointwise: ('pointwise', 'pointwise_gradient'),
}
PRODUCTS = ('chain', 'pointwise', 'pointwise_gradient', 'band_gradient')
SHARED = {80: 163 * 1024, 90: 227 * 1024}


def read_twice(code: str) -> set[str]:
    """Buffers that loads are staged in and that both an asynchronous product and registers read.

    Triton 3.6 counts the registers alone as the end of a buffer's use, and loads the next chunk into it while the product still reads.
    """
    asynchronous = re.findall(r'warp_group_dot (.*)isAsync = true', code)
    products = {name for operands in asynchronous for name in re.findall(r'%\w+', operands)}
    return products & set(re.findall(r'ttg\.local_load (%\w+)', code))


class Compiler:
    """Takes a kernel's place: compiles it for the arguments of a launch instead of launching it."""

    generation = 80
    seen: set[tuple] = set()

    def __init__(self, kernel) -> None:
        self.kernel = kernel

    def __getitem__(self, grid):
        return self.launch

    def launch(self, *args, num_warps: int, num_stages: int = 3, maxnreg: int | None = None, **constants) -> None:
        signature, known, divisible = {}, {}, {}
        for i, name in enumerate(self.kernel.arg_names):
            value = args[i] if i < len(args) else constants[name]
            if i >= len(args) or value is None or (isinstance(value, int) and value == 1):
                signature[name], known[i,] = 'constexpr', value
                continue
            scalar = {int: 'i32', float: 'fp32'}.get(type(value))
            signature[name] = scalar or POINTERS[value.dtype]
            if scalar is None or (scalar == 'i32' and value % 16 == 0):
                divisible[i,] = [['tt.divisibility', 16]]
        key = self.kernel.__name__, self.generation, str(signature), str(known)
        if key in self.seen:
            return
        self.seen.add(key)
        source = ASTSource(self.kernel, signature, known, divisible)
        target = GPUTarget('cuda', self.generation, 32)
        done = triton.compile(
            source, target=target, options=dict(num_warps=num_warps, num_stages=num_stages, maxnreg=maxnreg)
        )
        dtype = next(s for s in signature.values() if s.startswith('*'))
        print(
            f'{self.kernel.__name__:15} {dtype:5} sm_{self.generation} warps {num_warps} shared {done.metadata.shared}'
        )
        assert done.metadata.shared <= SHARED[self.generation]
        assert not read_twice(done.asm['ttgir']), 'a staged load is read by an unfinished product and by registers too'
        if self.kernel.__name__ in PRODUCTS:
            assert re.search(r'\bwgmma\.|\bmma\.sync', done.asm['ptx']), 'no tensor cores'


def main() -> None:
    for module, names in KERNELS.items():
        for name in names:
            setattr(module, name, Compiler(getattr(module, name)))
    launch._generation = lambda x: Compiler.generation // 10
    launch._keeps_kernels = lambda: False
    # A whole tile of stage 1 in half precision, tiles of a larger image, and many small images.
    for Compiler.generation, dtype, shape, k_size in (
        (90, torch.bfloat16, (16, 64, 128, 128), 23),
        (90, torch.float32, (1, 3, 200, 334), 53),
        (80, torch.float16, (2, 160, 32, 32), 7),
    ):
        flat, dilation = cases.lska_tensors(shape[1], k_size, dtype)
        x = torch.empty(shape, dtype=dtype)
        out, kept = operators.lska_training(x, *flat, dilation, False)
        operators.lska_backward(out, x, kept, *flat, dilation, False)
        mlp = cases.mlp_tensors(shape[1], dtype, 8)
        for layout in (torch.contiguous_format, torch.channels_last)[: 2 if dtype == torch.bfloat16 else 1]:
            x = x.contiguous(memory_format=layout)
            operators.depthwise_gelu(x, *mlp[:2])
            operators.depthwise_gelu_backward(x, x, *mlp[:2])
            grad = torch.empty(shape[0], 8, *shape[2:], dtype=dtype)
            operators.depthwise_gelu_pointwise_backward(grad, x, *mlp[:3])
    print('done')


if __name__ == '__main__':
    main()
