"""Numbers, shapes and transforms that the operators cannot take: refused in one line, or right; never a crash, a hang or a wrong number.

What would have killed the process runs in one of its own, with limits on time and memory.
"""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.autograd import forward_ad

from mmlska import ops
from mmlska.ops.cpu import backend as cpu

CASES = Path(__file__).parents[1] / 'ops' / 'random_cases.py'
needs_cpu = pytest.mark.skipif(cpu.PROBLEM is not None, reason=str(cpu.PROBLEM))


@pytest.fixture(autouse=True)
def lenient(monkeypatch):
    monkeypatch.delenv('MMLSKA_STRICT', raising=False)


def pair(*shape, dtype=torch.float32):
    return torch.randn(shape).to(dtype), torch.randn(shape[0]).to(dtype)


def lska_pairs(c=2, k0=3, k1=5, dtype=torch.float32):
    shapes = (c, 1, 1, k0), (c, 1, k0, 1), (c, 1, 1, k1), (c, 1, k1, 1), (c, c, 1, 1)
    return [pair(*shape, dtype=dtype) for shape in shapes]


def survives(script: str, seconds: int = 20, gigabytes: int = 6) -> str:
    """What a script prints, which must end by itself within the limits."""

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (gigabytes << 30,) * 2)

    head = (
        'import torch\nfrom mmlska import ops\n'
        'def pair(*shape):\n    return torch.randn(shape), torch.randn(shape[0])\n'
        'h0, v0, h1, v1, last = [pair(*s) for s in ((2,1,1,3), (2,1,3,1), (2,1,1,5), (2,1,5,1), (2,2,1,1))]\n'
        'flat = [t for p in (h0, v0, h1, v1, last) for t in p]\n'
        'x = torch.randn(1, 2, 6, 7)\n'
        'def error_of(call):\n'
        '    try:\n        call()\n'
        '    except (RuntimeError, ValueError) as error:\n        return f"{type(error).__name__}: {error}"\n'
        '    return "no error"\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', head + script], preexec_fn=limit, timeout=seconds, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, f'{done.returncode}: {done.stderr[-2000:]}'
    return done.stdout


# ---- dilations ----


def test_dilations_end_in_numbers_or_one_line():
    """2^61 ended the process, 2^62 gave wrong numbers, 2^31 took 69 GB or did not end."""
    said = survives(
        'for dilation in (10**7, 2**26, 2**31, 2**61, 2**62, 2**63, 10**30):\n'
        '    print(error_of(lambda: ops.lska_attention(x, h0, v0, h1, v1, last, dilation)))\n'
    ).splitlines()
    assert said[:2] == ['no error'] * 2
    for line, dilation in zip(said[2:], (2**31, 2**61, 2**62, 2**63, 10**30), strict=True):
        allowed = 'is too large for kernels of 5 taps; it must be 268435456 or less'
        assert line == f'ValueError: dilation={dilation} {allowed}'


@pytest.mark.parametrize('backend', ['cpu', 'reference'])
@pytest.mark.parametrize('dilation', [1, 4, 5, 6, 7, 8, 10**7, 2**28])
def test_dilation_of_any_size_is_exact(backend, dilation):
    """Beyond the size of the map only the middle taps lie inside; all others have a gradient of 0."""
    if backend == 'cpu' and cpu.PROBLEM:
        pytest.skip(cpu.PROBLEM)
    x, pairs = torch.randn(2, 2, 6, 7, dtype=torch.float64), lska_pairs(dtype=torch.float64)
    leaves = [t.requires_grad_() for t in (x, *(t for p in pairs for t in p))]

    def both(run):
        y = run()
        return y.detach(), *torch.autograd.grad(y.sum(), leaves)

    found = both(lambda: ops.lska_attention(x, *pairs, dilation, backend=backend))
    if dilation < 7:
        wanted = both(lambda: ops.lska_attention(x, *pairs, dilation, backend='reference'))
    else:
        h0, v0, (h, h_bias), (v, v_bias), last = pairs
        middle = h0, v0, (h[..., 2:3], h_bias), (v[..., 2:3, :], v_bias), last
        wanted = both(lambda: ops.lska_attention(x, *middle, 1, backend='reference'))
    for a, b in zip(found, wanted):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


# ---- memory and shapes ----


@needs_cpu
def test_freed_memory_is_refused():
    said = survives(
        'def freed(t, left=0):\n    t = t.clone()\n    t.untyped_storage().resize_(left)\n    return t\n'
        'print(error_of(lambda: ops.lska_attention(freed(x), h0, v0, h1, v1, last, 3)))\n'
        'print(error_of(lambda: ops.lska_attention(x, h0, (freed(v0[0]), v0[1]), h1, v1, last, 3)))\n'
        'print(error_of(lambda: ops.mlp(freed(x), None, pair(2, 1, 3, 3), None)))\n'
        'print(error_of(lambda: torch.ops.mmlska_cpu.lska_inference(freed(x), *flat, 3, False)))\n'
        'for t in (freed(x, 335), freed(x.to(memory_format=torch.channels_last), 335), freed(x[:0]), x[:, :, 1:, ::2]):\n'
        '    print(error_of(lambda: ops.lska_attention(t, h0, v0, h1, v1, last, 3)))\n'
    ).splitlines()
    assert said[0] == 'RuntimeError: the memory of x, of shape (1, 2, 6, 7), was freed or cut; it must hold the values'
    assert said[1].startswith('RuntimeError: the memory of v0 weight, of shape (2, 1, 3, 1), was freed')
    assert said[2] == said[0]
    assert said[3].startswith('RuntimeError: mmlska_cpu: the memory of x was freed or cut: 0 bytes are left')
    assert said[4] == said[5] == said[0]
    assert said[6:] == ['no error', 'no error']  # no values are missing


@needs_cpu
def test_operators_refuse_wrong_inputs():
    """Every operator with every input of wrong size, dtype, device or memory; one of them read beyond a weight and ended the process.

    There are ten operators.
    """
    command = [sys.executable, CASES, '--cases', '12', '--seed', '1']
    done = subprocess.run(command, timeout=60, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f'{done.returncode}: {done.stderr[-2000:]}'
    assert done.stdout.startswith('12 right calls and 12 wrong ones passed')


@needs_cpu
def test_kernels_of_two_lengths_read_no_other_memory():
    """The vertical kernel was read as if it had the taps of the horizontal one."""
    x, (h0, _, h1, v1, last) = torch.randn(1, 2, 6, 7), lska_pairs(k0=63)
    v0 = pair(2, 1, 1, 1)
    found, wanted = (
        ops.lska_attention(x, h0, v0, h1, v1, last, 2, backend=backend) for backend in ('cpu', 'reference')
    )
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@needs_cpu
def test_meta_tensor_beside_others_is_refused():
    flat = [t for p in lska_pairs() for t in p]
    with pytest.raises(RuntimeError, match='the inputs of lska_inference are on cpu, meta'):
        torch.ops.mmlska_cpu.lska_inference(torch.randn(1, 2, 6, 7), flat[0].to('meta'), *flat[1:], 3, False)


# ---- transforms ----


def lska(pairs):
    return lambda x, backend: ops.lska_attention(x, *pairs, 2, gelu=True, backend=backend)


def mlp(pairs):
    def run(x, backend):
        return ops.mlp(x, *pairs, backend=backend)

    return run


FUNCTIONS = {
    'lska': lambda: lska(lska_pairs(k1=3, dtype=torch.float64)),
    'depthwise_gelu': lambda: mlp([None, pair(2, 1, 3, 3, dtype=torch.float64), None]),
    'mlp': lambda: mlp([pair(*s, dtype=torch.float64) for s in ((3, 2, 1, 1), (3, 1, 3, 3), (2, 3, 1, 1))]),
}


def jvp(f, x):
    return torch.func.jvp(f, (x,), (torch.ones_like(x),))[1]


def dual_numbers(f, x):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(f(forward_ad.make_dual(x, torch.ones_like(x)))).tangent


def tangent_of_the_gradient(f, x):
    x = x.requires_grad_()
    y = f(x)
    with forward_ad.dual_level():
        grad = forward_ad.make_dual(
            torch.ones_like(y), torch.rand(y.shape, generator=torch.Generator().manual_seed(0)).to(y)
        )
        return forward_ad.unpack_dual(torch.autograd.grad(y, x, grad)[0]).tangent


def total(f):
    return lambda x: f(x).square().sum()


def second_derivative(f, x):
    x = x.requires_grad_()
    (first,) = torch.autograd.grad(total(f)(x), x, create_graph=True)
    return torch.autograd.grad(first.square().sum(), x)[0]


TRANSFORMS = {
    'jvp': jvp,
    'dual numbers': dual_numbers,
    'tangent of the gradient': tangent_of_the_gradient,
    'jacfwd': lambda f, x: torch.func.jacfwd(f)(x),
    'jacrev': lambda f, x: torch.func.jacrev(f)(x),
    'grad': lambda f, x: torch.func.grad(total(f))(x),
    'vmap': lambda f, x: torch.func.vmap(f)(torch.stack([x, -x])),
    'vmap of grad': lambda f, x: torch.func.vmap(torch.func.grad(total(f)))(torch.stack([x, -x])),
    'hessian': lambda f, x: torch.func.hessian(total(f))(x),
    'vectorized hessian': lambda f, x: torch.autograd.functional.hessian(total(f), x, vectorize=True),
    'second derivative': second_derivative,
    'compiled jvp': lambda f, x: torch.compile(lambda x: jvp(f, x), backend='aot_eager')(x),
}


@needs_cpu
@pytest.mark.filterwarnings('ignore:mmlska.ops runs')
@pytest.mark.parametrize('function', FUNCTIONS)
@pytest.mark.parametrize('transform', TRANSFORMS)
def test_transforms_are_right(function, transform):
    """Forward-mode derivatives were silently zero."""
    torch.compiler.reset()
    f, x = (
        FUNCTIONS[function](),
        torch.randn(1, 2, 4, 3, dtype=torch.float64).contiguous(memory_format=torch.channels_last),
    )
    found, wanted = (TRANSFORMS[transform](lambda x, b=b: f(x, b), x.clone()) for b in (None, 'reference'))
    assert wanted.any()
    torch.testing.assert_close(found, wanted)


@needs_cpu
def test_kernels_that_are_asked_for_by_name_have_no_tangents():
    f, x = FUNCTIONS['lska'](), torch.randn(1, 2, 4, 3, dtype=torch.float64)
    with pytest.raises(
        ValueError, match=r"backend='cpu' has no rule for forward-mode .*; leave backend out, or choose 'reference'"
    ):
        jvp(lambda x: f(x, 'cpu'), x)
    weight, bias = pair(2, 1, 3, 3, dtype=torch.float64)
    for transform in (jvp, dual_numbers):
        with pytest.raises(RuntimeError, match='mmlska_cpu: x has a tangent'):
            transform(lambda x: torch.ops.mmlska_cpu.depthwise_gelu(x, weight, bias), x)


@needs_cpu
def test_fallback_of_a_transform_is_said():
    from mmlska.ops import fallback

    fallback._warned.clear()
    f, x = FUNCTIONS['lska'](), torch.randn(1, 2, 4, 3, dtype=torch.float64)
    with pytest.warns(
        UserWarning,
        match='runs transforms of lska_attention in plain PyTorch, which is slower: the kernels have no rule',
    ):
        jvp(lambda x: f(x, None), x)
