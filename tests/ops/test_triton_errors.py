"""What Triton cannot compile or start falls back to plain PyTorch, alone or as a whole; other errors are raised."""

from __future__ import annotations

import ast
import errno
import re
import subprocess
import warnings
from functools import partial

import ops_cases as cases
import pytest
import torch
from torch import Tensor
from triton.compiler.errors import CompilationError, CompileTimeAssertionFailure
from triton.runtime.errors import OutOfResources, PTXASError
from triton_cases import DEVICE, Ops, every_layout, lska_tensors, make_map, mlp_tensors, needs_gpu, of_mmlska

from mmlska import ops
from mmlska.ops.triton import backend as gpu
from mmlska.ops.triton import launch, operators, pointwise

pytestmark = pytest.mark.usefixtures('poisoned_memory')


@pytest.fixture
def exact_convolutions():
    """Plain PyTorch's without TF32 and in one way, so that a fallback can be compared with it."""
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield


ILLEGAL_ACCESS = 'Triton Error [CUDA]: an illegal memory access was encountered'
NO_COMPILER = 'Failed to find C compiler. Please specify via CC environment variable or set triton.knobs.build.impl.'
DOES_NOT_FIT = OutOfResources(262144, 232448, 'shared memory')


@pytest.fixture
def failing(monkeypatch, lenient, exact_convolutions):
    """Let the launches of maps of one shape and dtype fail, as on a GPU. Returns the shapes of all maps whose launch was tried."""
    monkeypatch.setattr(gpu, 'INTERPRETED', False)
    monkeypatch.setattr(gpu, 'PROBLEM', None)
    monkeypatch.setattr(gpu, '_refused', {})
    monkeypatch.setattr(gpu, 'supports', lambda *_: True)

    def start(error: BaseException, of: Tensor) -> list[tuple]:
        tried = []

        def wrap(launch, x, *args, **options):
            tried.append(tuple(x.shape))
            if x.shape == of.shape and x.dtype == of.dtype:
                raise error
            return launch(x, *args, **options)

        for name in ('launch_chain', 'launch_depthwise'):
            monkeypatch.setattr(operators, name, partial(wrap, getattr(operators, name)))
        return tried

    return start


def run_all_operators(x: Tensor) -> list[list[Tensor]]:
    """Output and gradients of each operator, and of its twin; as from a compiled graph, which has chosen its backend before."""
    flat, dilation = lska_tensors(2, 7, x.dtype)
    mlp = mlp_tensors(2, x.dtype, 2)
    calls = torch.ops.mmlska_triton
    both = []
    for fused, twin, inputs in (
        (lambda *t: calls.lska_training(*t, dilation, False)[0], lambda *t: cases.lska_twin(*t, dilation), flat),
        (calls.depthwise_gelu, cases.mlp_twin, mlp[:2]),
        (calls.depthwise_gelu_pointwise, cases.mlp_twin, mlp),
    ):
        both.append([cases.outputs_and_grads(f, [x, *inputs], x) for f in (fused, twin)])
    return both


def assert_like_plain_pytorch(both: list[list[Tensor]], tolerance: float = 1e-4) -> None:
    for found, wanted in both:
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def strides(both: list[list[Tensor]]) -> list:
    """Of all results; along an axis of length 1 a stride means nothing."""
    return [[[s for s, n in zip(t.stride(), t.shape) if n > 1] for t in found] for found, _ in both]


@every_layout
def test_shape_that_does_not_fit_falls_back_alone(failing, layout):
    x = cases.lay_out(make_map(2, 2, 5, 3), layout)
    fused = run_all_operators(x)
    tried = failing(DOES_NOT_FIT, of=x)
    with pytest.warns(UserWarning, match='plain PyTorch') as seen:
        both = run_all_operators(x)
    assert_like_plain_pytorch(both, 1e-5)
    assert strides(both) == strides(fused)
    texts = of_mmlska(seen)
    # The 3x3 with a 1x1 after it counts as another operator.
    names = ['lska_attention', 'depthwise_gelu', 'depthwise_gelu']
    known = [name for forward in names for name in (forward, f'the gradient of {forward}')]
    shape = f'of a map of shape (2, 2, 5, 3) and torch.float32 on {x.device}'
    assert [t.split(' of a map')[0].removeprefix('mmlska.ops runs ') for t in texts] == known
    for text in texts:
        assert f'{shape} in plain PyTorch, which is slower: the Triton kernels do not compile or fit' in text
        assert f'(OutOfResources: {DOES_NOT_FIT}); float16 or bfloat16 needs less' in text
    assert len(tried) == 6

    with warnings.catch_warnings():
        warnings.filterwarnings('error', message='mmlska')
        assert_like_plain_pytorch(run_all_operators(x), 1e-5)
        assert len(tried) == 6  # not once more
        # Another shape or dtype runs on the kernels.
        assert_like_plain_pytorch(run_all_operators(make_map(1, 2, 5, 3)))
        assert_like_plain_pytorch(run_all_operators(x.to(torch.float16)), 0.05)
    assert len(tried) >= 6 + 2 * 6
    assert gpu.PROBLEM is None
    assert ops.available_backends(DEVICE)[0] == 'triton'


def test_other_taps_and_dilations_are_asked_anew(failing):
    x = make_map(1, 2, 5, 3)
    tried = failing(DOES_NOT_FIT, of=x)
    for k_size, dilation in ((7, 2), (11, 2), (11, 3)):
        run = partial(cases.lska, x, *lska_tensors(2, k_size, torch.float32)[0], dilation, backend='triton')
        with pytest.warns(UserWarning, match='lska_attention'):
            run()
        run()
    assert len(tried) == 3


@pytest.mark.parametrize(
    ('error', 'text'),
    [
        (CompilationError('a\nb', ast.parse('a').body[0], 'no dot for that'), r'\(CompilationError: no dot for that\)'),
        (CompileTimeAssertionFailure(None, ast.parse('a'), 'odd'), r'\(CompileTimeAssertionFailure: odd\)'),
        (PTXASError('failed\nptxas fatal: no\nRepro command: ptxas -v'), r'\(PTXASError: ptxas fatal: no\)'),
        (RuntimeError('PassManager::run failed'), r'\(RuntimeError: PassManager::run failed\)'),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else '',
)
def test_kernels_that_do_not_compile_fall_back_alone(failing, error, text):
    x, mlp = make_map(1, 2, 3, 4), mlp_tensors(2, torch.float32)
    tried = failing(error, of=x)
    with pytest.warns(UserWarning, match=f'{text}; `pip install -U triton` may fix that, else please report') as seen:
        results = [cases.mlp(x, *mlp, backend='triton') for _ in range(2)]
    assert len(of_mmlska(seen)) == len(tried) == len(gpu._refused) == 1
    assert all(torch.equal(found, cases.mlp_twin(x, *mlp)) for found in results)
    assert gpu.PROBLEM is None


@pytest.mark.parametrize(
    'error',
    [
        RuntimeError(ILLEGAL_ACCESS),
        RuntimeError('Triton Error [CUDA]: out of memory'),
        RuntimeError('CUDA error: unspecified launch failure\nCompile with `TORCH_USE_CUDA_DSA`.'),
        torch.OutOfMemoryError('CUDA out of memory'),
        getattr(torch, 'AcceleratorError', RuntimeError)('CUDA error: an illegal memory access was encountered'),
        ValueError('a mistake of ours'),
        OSError(errno.EMFILE, 'Too many open files'),
        KeyboardInterrupt('^C'),
    ],
    ids=lambda error: f'{type(error).__name__}: {error}'.split('\n')[0],
)
@pytest.mark.parametrize('value', ['0', '1'])
@pytest.mark.filterwarnings('error:mmlska')
def test_other_errors_are_raised(failing, monkeypatch, error, value):
    monkeypatch.setenv('MMLSKA_STRICT', value)
    x = make_map(1, 2, 3, 4)
    tried = failing(error, of=x)
    mlp = mlp_tensors(2, torch.float32)
    for _ in range(2):
        with pytest.raises(type(error)) as raised:
            cases.mlp(x, *mlp, backend='triton')
        assert str(raised.value) == str(error)
    assert len(tried) == 2
    assert gpu.PROBLEM is None
    assert gpu._refused == {}


def test_file_that_another_process_has_moved_is_asked_for_again(monkeypatch):
    """Processes share Triton's cache, and may take a file from under each other."""
    monkeypatch.setattr(gpu, 'PROBLEM', None)
    monkeypatch.setattr(gpu, 'supports', lambda *_: True)
    original, tried = operators.launch_depthwise, []

    def once(*args):
        tried.append(args)
        if len(tried) == 1:
            raise FileNotFoundError(2, 'No such file or directory', 'cache/A/tmp.pid_7/depthwise.json')
        return original(*args)

    monkeypatch.setattr(operators, 'launch_depthwise', once)
    x, mlp = make_map(1, 2, 3, 4), mlp_tensors(2, torch.float32)
    torch.testing.assert_close(cases.mlp(x, *mlp, backend='triton'), cases.mlp_twin(x, *mlp), rtol=1e-4, atol=1e-4)
    assert len(tried) == 2
    assert gpu.PROBLEM is None


def test_interpreter_raises_all_errors(failing, monkeypatch):
    monkeypatch.setattr(gpu, 'INTERPRETED', True)
    x = make_map(1, 2, 3, 4)
    failing(DOES_NOT_FIT, of=x)
    with pytest.raises(OutOfResources):
        cases.mlp(x, *mlp_tensors(2, torch.float32), backend='triton')


COMPILER = r'Triton needs a C compiler and Python headers: `apt install'


@pytest.mark.filterwarnings('error:mmlska')
@pytest.mark.parametrize(
    ('error', 'step'),
    [
        (RuntimeError(NO_COMPILER), COMPILER),
        (subprocess.CalledProcessError(1, ['gcc', 'main.c']), COMPILER),
        (FileNotFoundError(errno.ENOENT, 'No such file or directory', 'my-cc'), COMPILER),
        (RuntimeError('Cannot find ptxas'), r'made for this torch.*`pip install -U triton`'),
        (
            FileNotFoundError(errno.ENOENT, 'No such file or directory', 'bin/ptxas'),
            r'--force-reinstall triton` brings',
        ),
        (RuntimeError('0 active drivers ([]). There should only be one.'), r'`pip install -U triton`'),
        (ImportError('undefined symbol: cuLaunch'), r'`pip install -U triton`'),
        (PermissionError(errno.EACCES, 'Permission denied', '/.triton'), r'set TRITON_CACHE_DIR to a folder'),
        (OSError(errno.ENOSPC, 'No space left on device'), r'set TRITON_CACHE_DIR to a folder'),
    ],
    ids=lambda value: f'{type(value).__name__}: {value}' if isinstance(value, Exception) else '',
)
def test_installation_that_cannot_compile_falls_back_as_a_whole(failing, error, step):
    x = make_map(2, 2, 5, 3, layout='channels_last')
    fused = run_all_operators(x)
    tried = failing(error, of=x)
    reason = re.escape(f'({type(error).__name__}: {error})')
    text = rf'in plain PyTorch, .*do not compile or start here {reason}; .*{step}'
    with pytest.warns(UserWarning, match=text) as seen:
        both = run_all_operators(x)
    assert len(of_mmlska(seen)) == len(tried) == 1
    assert_like_plain_pytorch(both, 1e-5)
    assert strides(both) == strides(fused)
    run_all_operators(make_map(1, 2, 3, 4))
    assert len(tried) == 1
    assert gpu._refused == {}
    assert 'triton' not in ops.available_backends(DEVICE)
    with pytest.raises(ValueError, match=rf"backend='triton' cannot be used here: .*{reason}"):
        Ops()(x)


@pytest.mark.parametrize('error', [DOES_NOT_FIT, RuntimeError(NO_COMPILER)], ids=lambda error: type(error).__name__)
def test_strict_raises_instead(failing, monkeypatch, error):
    monkeypatch.setenv('MMLSKA_STRICT', '1')
    x, mlp = make_map(1, 2, 3, 4), mlp_tensors(2, torch.float32)
    tried = failing(error, of=x)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r'plain PyTorch.*; MMLSKA_STRICT=1 asks for an error$') as raised:
            torch.ops.mmlska_triton.depthwise_gelu(x, *mlp)
        assert str(error) in str(raised.value)
        assert '\n' not in str(raised.value)
    assert len(tried) == 1
    monkeypatch.setenv('MMLSKA_STRICT', '0')
    with pytest.warns(UserWarning, match='plain PyTorch'):
        torch.ops.mmlska_triton.depthwise_gelu(x, *mlp)


def test_fallback_inside_a_compiled_graph(failing):
    model, x = Ops(), make_map(2, 2, 5, 6)
    wanted = cases.results(Ops(backend='reference'), x)
    failing(DOES_NOT_FIT, of=x)
    with pytest.warns(UserWarning, match='of a map of shape .2, 2, 5, 6. and torch.float32'):
        found = cases.results(torch.compile(model, fullgraph=True, backend='aot_eager'), x)
    for a, b in zip(found, wanted):
        torch.testing.assert_close(a, b)


@needs_gpu
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=lambda d: str(d)[6:])
def test_real_lack_of_shared_memory_falls_back_alone(lenient, exact_convolutions, monkeypatch, dtype):
    """More stages of loads than any GPU has memory for."""
    flat, dilation = lska_tensors(128, 7, dtype)
    large, small = make_map(1, 128, 9, 15, dtype=dtype), make_map(1, 128, 9, 16, dtype=dtype)
    monkeypatch.setattr(gpu, '_refused', {})
    monkeypatch.setattr(launch, '_compiled', {})
    settings = pointwise.settings

    def many_stages(kernel, x):
        return {**settings(kernel, x), 'stages': 64}

    with monkeypatch.context() as patch:
        patch.setattr(pointwise, 'settings', many_stages)
        with pytest.warns(UserWarning, match=r'shape \(1, 128, 9, 15\).*OutOfResources.*shared memory') as seen:
            found = cases.lska(large, *flat, dilation, backend='triton')
    assert len(of_mmlska(seen)) == 1
    assert gpu.PROBLEM is None
    torch.testing.assert_close(found, cases.lska_twin(large, *flat, dilation))
    with warnings.catch_warnings():
        warnings.filterwarnings('error', message='mmlska')
        torch.testing.assert_close(cases.lska(large, *flat, dilation, backend='triton'), found)
        cases.lska(small, *flat, dilation, backend='triton')
