"""The Triton kernels against the reference in float64: on a GPU, or on the CPU in Triton's interpreter.

test_triton.py collects these tests where there is a GPU, and runs this file in a process of its own otherwise, since Triton reads
TRITON_INTERPRET once and for all when it is imported.
"""

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
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint
from triton.compiler.errors import CompilationError, CompileTimeAssertionFailure
from triton.runtime.errors import OutOfResources, PTXASError

from mmlska import ops
from mmlska.ops import functional
from mmlska.ops.triton import backend as gpu
from mmlska.ops.triton import launch as gpu_launch

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
# Shape and k_size: images of one pixel, narrower than the kernel, odd, square (which the two axes must not mix up), one or many channels.
LSKA = [
    ((1, 1, 1, 1), 7), ((2, 3, 13, 17), 23), ((1, 3, 5, 3), 53), ((1, 32, 5, 3), 7), ((3, 2, 16, 16), 23), ((1, 1, 9, 40), 35),
    ((2, 3, 7, 6), 41), ((1, 3, 1, 13), 11), ((1, 2, 18, 5), 53), ((1, 3, 11, 12), 47), ((1, 18, 2, 3), 23), ((2, 1, 24, 33), 7),
]  # fmt: skip
# Shape, output channels of the 1x1 or None. 40 rows and 140 columns are more than one program takes.
MLP = [
    ((1, 1, 1, 1), None), ((2, 3, 13, 17), 4), ((1, 32, 5, 3), 1), ((1, 3, 40, 2), None), ((1, 1, 2, 140), 3), ((3, 2, 8, 8), None),
    ((1, 33, 4, 5), None), ((1, 70, 1, 2), 8), ((1, 5, 65, 1), 2),
    ((1, 160, 2, 1), 3), ((1, 1, 97, 131), None),
]  # fmt: skip

pytestmark = pytest.mark.usefixtures('poisoned_memory')
every_dtype = pytest.mark.parametrize('dtype', DTYPES, ids=lambda d: str(d)[6:])
every_layout = pytest.mark.parametrize('layout', cases.LAYOUTS)
needs_gpu = pytest.mark.skipif(DEVICE == 'cpu', reason='needs a GPU')


def on_device(tensors: list[Tensor]) -> list[Tensor]:
    return [t.to(DEVICE) for t in tensors]


def lska_tensors(c: int, k_size: int, dtype: torch.dtype) -> tuple[list[Tensor], int]:
    flat, dilation = cases.lska_tensors(c, k_size, dtype)
    return on_device(flat), dilation


def mlp_tensors(c: int, dtype: torch.dtype, out_channels: int | None = None) -> list[Tensor]:
    return on_device(cases.mlp_tensors(c, dtype, out_channels))


def make_map(*shape: int, dtype: torch.dtype = torch.float32, layout: str = 'contiguous') -> Tensor:
    return cases.make_map(shape, dtype, layout, device=DEVICE)


def slack(dtype: torch.dtype) -> float:
    """The interpreter rounds to bfloat16 towards zero, which doubles an error and lets several add up."""
    return 2 if DEVICE == 'cpu' and dtype == torch.bfloat16 else 1


def check_lska(shape, k_size: int, dtype: torch.dtype, layout: str, gelu: bool = False) -> list[Tensor]:
    return cases.check_lska('triton', shape, k_size, dtype, [layout], gelu, DEVICE, slack(dtype))


def check_depthwise_gelu(shape, dtype: torch.dtype, layout: str, out_channels: int | None = None) -> list[Tensor]:
    return cases.check_depthwise_gelu('triton', shape, dtype, [layout], out_channels, DEVICE, slack(dtype))


def share(of: list, dtype: torch.dtype, layout: str) -> list:
    """A third on a GPU, of the slow interpreter's a sixth, so that the nine pairs of dtype and layout together take each of them."""
    pair, parts = 3 * DTYPES.index(dtype) + cases.LAYOUTS.index(layout), 3 if DEVICE == 'cuda' else 6
    return of[pair % parts :: parts]


# ---- values ----


@every_dtype
@every_layout
def test_lska(dtype, layout):
    for i, (shape, k_size) in enumerate(share(LSKA, dtype, layout)):
        check_lska(shape, k_size, dtype, layout, gelu=i % 2 == 1)


# Larger than a tile, many channels, a whole map: what takes the interpreter long runs in one dtype there.
@pytest.mark.parametrize(
    ('shape', 'k_size', 'dtype'),
    [
        ((1, 1, 150, 3), 53, torch.float32),
        ((1, 1, 3, 150), 7, torch.float32),
        ((1, 1, 2, 140), 23, torch.bfloat16),
        ((1, 160, 2, 3), 7, torch.float32),
        ((1, 1, 97, 131), 23, torch.bfloat16),
    ],
)
def test_large_lska(shape, k_size, dtype):
    check_lska(shape, k_size, dtype, 'contiguous')


@every_dtype
@pytest.mark.parametrize('k_size', [1, 7, 53])
def test_design_without_dilated_kernels(dtype, k_size):
    shapes = [(3, 1, 1, k_size), (3, 1, k_size, 1), (3, 3, 1, 1)]
    flat = on_device([t for i, s in enumerate(shapes) for t in cases.make_pair(s, dtype, i)])

    def call(x, h0w, h0b, v0w, v0b, pw, pb, backend):
        return ops.lska_attention(x, (h0w, h0b), (v0w, v0b), None, None, (pw, pb), 1, backend=backend)

    x = make_map(1, 3, 11, 6, dtype=dtype)
    fused, twin = (partial(call, backend=backend) for backend in ('triton', 'reference'))
    cases.assert_close_to_reference(fused, twin, [x, *flat], ['contiguous'], slack=slack(dtype))


@every_dtype
@every_layout
def test_depthwise_gelu(dtype, layout):
    for shape, out_channels in share(MLP, dtype, layout):
        check_depthwise_gelu(shape, dtype, layout, out_channels)


def test_pointwise_before_depthwise_gelu():
    cases.check_depthwise_gelu('triton', (2, 3, 4, 5), torch.float32, ['contiguous'], 2, DEVICE, in_channels=4)


def test_extreme_values_of_gelu():
    x = torch.tensor([-1e18, -40.0, -14.0, -5.6, -3.0, -0.0, 0.0, 1e-20, 3.0, 5.6, 1e18], device=DEVICE).view(
        1, 1, 1, -1
    )
    weight = torch.zeros(1, 1, 3, 3, device=DEVICE)
    weight[0, 0, 1, 1] = 1
    results = []
    for backend in ('triton', 'reference'):
        leaf = x.clone().requires_grad_()
        y = ops.depthwise_gelu(leaf, weight, torch.zeros(1, device=DEVICE), backend=backend)
        results.append((y, *torch.autograd.grad(y.sum(), leaf)))
    for found, wanted in zip(*results):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_nan_does_not_vanish():
    flat, dilation = lska_tensors(1, 7, torch.float32)
    x = make_map(1, 1, 4, 5)
    x[..., 2, 3] = torch.nan
    assert cases.lska(x, *flat, dilation, backend='triton')[..., 2, 3].isnan()
    assert cases.mlp(x, *mlp_tensors(1, torch.float32), backend='triton')[..., 2, 3].isnan()


def test_empty_batch():
    flat, dilation = lska_tensors(3, 7, torch.float32)
    x = torch.empty(0, 3, 4, 5, device=DEVICE)
    inputs = [x, *flat]
    out, *grads = cases.outputs_and_grads(lambda *t: cases.lska(*t, dilation, backend='triton'), inputs, x)
    assert out.shape == x.shape
    assert not any(g.any() for g in grads)
    for out_channels in (None, 2):
        y = cases.mlp(x, *mlp_tensors(3, torch.float32, out_channels), backend='triton')
        assert y.shape == (0, out_channels or 3, 4, 5)


def test_twice_the_same():
    for run in (partial(check_lska, (3, 2, 5, 6), 7), partial(check_depthwise_gelu, (2, 3, 34, 3))):
        first, second = (run(torch.bfloat16, 'contiguous') for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(first, second))


# ---- limits ----


@pytest.mark.parametrize('dilation', [5, 6, 10**7, 2**28])
def test_dilation_of_any_size(dilation):
    """Beyond the size of the map only the middle taps lie inside, and no index may overflow."""
    flat = lska_tensors(1, 7, torch.float32)[0]
    inputs = [make_map(1, 1, 4, 6), *flat]
    fused, twin = (lambda *t, f=f: f(*t, dilation) for f in (partial(cases.lska, backend='triton'), cases.lska_twin))
    cases.assert_close_to_reference(fused, twin, inputs, ['contiguous'])


def inputs_of_operators() -> dict[str, dict[str, Tensor | int | bool]]:
    """Right inputs of every operator, by their names in its schema."""
    x, outputs = make_map(1, 2, 3, 4), make_map(1, 3, 3, 4)
    flat, dilation = lska_tensors(2, 7, torch.float32)
    weight, bias, pw, pb = mlp_tensors(2, torch.float32, 3)
    known = dict(zip(('h0w', 'h0b', 'v0w', 'v0b', 'h1w', 'h1b', 'v1w', 'v1b', 'pw', 'pb'), flat))
    lska = dict(known, x=x, grad=x, kept=x, dilation=dilation, gelu=True)
    mlp = dict(x=x, grad=x, weight=weight, bias=bias)
    both = dict(mlp, grad=outputs, pw=pw, pb=pb)
    single = dict(both, weight=pw, bias=pb)
    found = {}
    for name in gpu._SCHEMAS:
        inputs = (
            lska if 'lska' in name else single if name.startswith('pointwise') else both if 'pointwise' in name else mlp
        )
        schema = getattr(torch.ops.mmlska_triton, name).default._schema
        found[name] = {a.name: inputs[a.name] for a in schema.arguments}
    return found


@pytest.mark.parametrize('name', list(gpu._SCHEMAS))
def test_operators_refuse_wrong_inputs(name):
    inputs = inputs_of_operators()[name]
    for label, value in inputs.items():
        wrongs = (0, 2**40) if label == 'dilation' else ()
        if isinstance(value, Tensor):
            axis, cut = min(1, value.dim() - 1), value.clone()
            cut.untyped_storage().resize_(value.untyped_storage().nbytes() - 1)
            wrongs = value[..., 0], value[None], value.double(), torch.cat([value, value], axis), value.to('meta'), cut
        for wrong in wrongs:
            with pytest.raises(RuntimeError, match='^mmlska_triton: '):
                getattr(torch.ops.mmlska_triton, name)(**{**inputs, label: wrong})


def test_tangents_are_refused():
    inputs = inputs_of_operators()['depthwise_gelu']
    with forward_ad.dual_level():
        inputs['x'] = forward_ad.make_dual(inputs['x'], inputs['x'])
        with pytest.raises(RuntimeError, match='mmlska_triton: x has a tangent'):
            torch.ops.mmlska_triton.depthwise_gelu(**inputs)
        with pytest.raises(ValueError, match="backend='triton' has no rule for forward-mode derivatives"):
            ops.depthwise_gelu(**inputs, backend='triton')


# ---- inside PyTorch ----


class Ops(nn.Module):
    """Both operators, with their weights as parameters."""

    def __init__(self, c: int = 2, backend: str | None = 'triton') -> None:
        super().__init__()
        flat, self.dilation = lska_tensors(c, 7, torch.float32)
        self.flat = nn.ParameterList(flat)
        self.mlp = nn.ParameterList(mlp_tensors(c, torch.float32))
        self.whole_mlp = nn.ParameterList(mlp_tensors(c, torch.float32, 2))
        self.backend = backend

    def forward(self, x: Tensor) -> Tensor:
        # By index: the compiler of torch 2.11 does not unpack a ParameterList.
        flat, mlp, whole = ([group[i] for i in range(len(group))] for group in (self.flat, self.mlp, self.whole_mlp))
        x = cases.lska(x, *flat, self.dilation, backend=self.backend)
        x = cases.mlp(x, *mlp, backend=self.backend)
        return cases.mlp(x, *whole, backend=self.backend)


def results(model: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.detach().requires_grad_()
    y = model(x)
    return [y.detach(), *torch.autograd.grad(y.square().sum(), [x, *model.parameters()])]


@every_layout
def test_output_has_the_memory_format_of_a_convolution(layout):
    x = make_map(2, 2, 6, 7, layout=layout)
    assert Ops()(x).stride() == Ops(backend='reference')(x).stride()


@pytest.mark.parametrize('layout', ['channels_last', 'contiguous'])
def test_compile_in_one_graph(layout):
    model, x = Ops(), make_map(2, 2, 5, 6, layout=layout)
    wanted = results(model, x)
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    y = compiled(x.requires_grad_())
    found = [y.detach(), *torch.autograd.grad(y.square().sum(), [x, *model.parameters()])]
    for a, b in zip(found, wanted):
        torch.testing.assert_close(a, b)
    assert found[0].stride() == wanted[0].stride()


def test_compiled_graph_has_the_kernels(monkeypatch):
    monkeypatch.setattr(gpu, 'pays', lambda op, x: True)
    # No backend is named, as networks call: for these the compiler before torch 2.13 answered that torch.export is at work.
    model, graphs = Ops(backend=None), []

    def backend(graph, inputs):
        graphs.append(str(graph.graph))
        return graph.forward

    torch.compile(model, fullgraph=True, backend=backend)(make_map(2, 2, 5, 6))
    assert len(graphs) == 1
    assert 'mmlska_triton' in graphs[0]
    assert 'conv2d' not in graphs[0]


def test_operators_keep_the_rules_of_custom_operators():
    flat, dilation = lska_tensors(2, 7, torch.float32)
    x = make_map(1, 2, 3, 4, layout='channels_last')
    learnt = [t.clone().requires_grad_() for t in (x, *flat)]
    mlp = mlp_tensors(2, torch.float32, 3)
    learnt_mlp = [x.clone().requires_grad_(), *(t.clone().requires_grad_() for t in mlp)]
    y, kept = make_map(1, 3, 3, 4, layout='channels_last'), x.contiguous()
    namespace = torch.ops.mmlska_triton
    # Not the test that traces with unknown sizes: it runs each operator three times more, in the interpreter.
    check_rules = partial(
        torch.library.opcheck, test_utils=('test_schema', 'test_autograd_registration', 'test_faketensor')
    )
    check_rules(namespace.lska_inference.default, (x, *flat, dilation, False))
    check_rules(namespace.lska_training.default, (*learnt, dilation, True))
    check_rules(namespace.lska_backward.default, (x, x, kept, *flat, dilation, True))
    check_rules(namespace.depthwise_gelu.default, learnt_mlp[:3])
    check_rules(namespace.depthwise_gelu_backward.default, (x, x, *mlp[:2]))
    check_rules(namespace.depthwise_gelu_pointwise.default, learnt_mlp)
    check_rules(namespace.depthwise_gelu_pointwise_backward.default, (y, x, *mlp[:3]))


def test_activation_checkpointing():
    model, x = Ops(), make_map(1, 2, 3, 5)
    wanted = results(model, x)
    x = x.requires_grad_()
    y = checkpoint(model, x, use_reentrant=False)
    found = [y.detach(), *torch.autograd.grad(y.square().sum(), [x, *model.parameters()])]
    assert all(torch.equal(a, b) for a, b in zip(found, wanted))


def test_inference_mode():
    model, x = Ops(), make_map(1, 2, 3, 5)
    with torch.inference_mode():
        found = model(x)
    assert found.is_inference()
    assert torch.equal(found, model(x))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=lambda d: str(d)[6:])
def test_autocast(dtype):
    model, x = Ops(), make_map(1, 2, 3, 5)
    with torch.autocast(DEVICE, dtype):
        y = model(x.to(dtype))
    assert y.dtype == dtype
    y.float().square().sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.parameters())
    plain = model(x)
    assert ((y - plain).abs().max() / plain.abs().max()).item() < (0.05 if dtype == torch.bfloat16 else 0.01)


def test_backward_inside_autocast():
    model, x = Ops(), make_map(1, 2, 3, 5)
    wanted = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))
    loss = model(x).square().sum()
    with torch.autocast(DEVICE, torch.bfloat16):
        found = torch.autograd.grad(loss, list(model.parameters()))
    for a, b in zip(found, wanted):
        torch.testing.assert_close(a, b)


def test_second_derivative():
    x = make_map(1, 2, 3, 5).requires_grad_()
    found = []
    for backend in ('triton', 'reference'):
        (first,) = torch.autograd.grad(Ops(backend=backend)(x).square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), x)[0])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


def saved_for_backward(function, *parameters: Tensor) -> int:
    """Bytes of distinct memory, other than the parameters', that autograd keeps between forward and backward."""
    own, kept = {p.untyped_storage().data_ptr() for p in parameters}, {}

    def pack(t):
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = function()
    del out
    return sum(size for pointer, size in kept.items() if pointer not in own)


@pytest.mark.parametrize('layout', ['channels_last', 'contiguous'])
def test_memory_saved_for_backward(layout):
    flat, dilation = lska_tensors(4, 23, torch.bfloat16)
    flat = [t.requires_grad_() for t in flat]
    x = make_map(2, 4, 6, 5, dtype=torch.bfloat16, layout=layout).requires_grad_()
    one = x.numel() * x.element_size()
    for gelu in (False, True):
        fused = partial(cases.lska, gelu=gelu, backend='triton')
        assert saved_for_backward(lambda fused=fused: fused(x, *flat, dilation), *flat) == 2 * one
    for out_channels in (None, 8):
        mlp = [t.requires_grad_() for t in mlp_tensors(4, torch.bfloat16, out_channels)]
        assert saved_for_backward(lambda mlp=mlp: cases.mlp(x, *mlp, backend='triton'), *mlp) == one


# ---- fallbacks ----

ILLEGAL_ACCESS = 'Triton Error [CUDA]: an illegal memory access was encountered'
NO_COMPILER = 'Failed to find C compiler. Please specify via CC environment variable or set triton.knobs.build.impl.'
DOES_NOT_FIT = OutOfResources(262144, 232448, 'shared memory')


@pytest.fixture
def exact_convolutions():
    """Plain PyTorch's without TF32 and in one way, so that a fallback can be compared with it."""
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield


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
            monkeypatch.setattr(gpu, name, partial(wrap, getattr(gpu, name)))
        return tried

    return start


def of_mmlska(seen) -> list[str]:
    """Texts of our warnings; the interpreter and torch.compile give some too."""
    return [text for text in (str(w.message) for w in seen) if text.startswith('mmlska')]


def run_all_operators(x: Tensor) -> list[list[Tensor]]:
    """Output and gradients of each operator, and of its twin; as from a compiled graph, which has chosen its backend before."""
    flat, dilation = lska_tensors(2, 7, x.dtype)
    mlp = mlp_tensors(2, x.dtype, 2)
    operators = torch.ops.mmlska_triton
    both = []
    for fused, twin, inputs in (
        (lambda *t: operators.lska_training(*t, dilation, False)[0], lambda *t: cases.lska_twin(*t, dilation), flat),
        (operators.depthwise_gelu, cases.mlp_twin, mlp[:2]),
        (operators.depthwise_gelu_pointwise, cases.mlp_twin, mlp),
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
    launch, tried = gpu.launch_depthwise, []

    def once(*args):
        tried.append(args)
        if len(tried) == 1:
            raise FileNotFoundError(2, 'No such file or directory', 'cache/A/tmp.pid_7/depthwise.json')
        return launch(*args)

    monkeypatch.setattr(gpu, 'launch_depthwise', once)
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
    wanted = results(Ops(backend='reference'), x)
    failing(DOES_NOT_FIT, of=x)
    with pytest.warns(UserWarning, match='of a map of shape .2, 2, 5, 6. and torch.float32'):
        found = results(torch.compile(model, fullgraph=True, backend='aot_eager'), x)
    for a, b in zip(found, wanted):
        torch.testing.assert_close(a, b)


def test_float64_says_that_it_has_no_kernel(lenient, monkeypatch):
    monkeypatch.setattr(gpu, 'pays', lambda *_: True)
    monkeypatch.setattr(functional, '_BACKENDS', {'triton': gpu, 'reference': functional.reference})
    x, mlp = make_map(1, 2, 3, 4, dtype=torch.float64), mlp_tensors(2, torch.float64)
    text = rf'depthwise_gelu of torch.float64 on {DEVICE} in plain PyTorch, .* use one of torch.float32, torch.float16'
    with pytest.warns(UserWarning, match=text) as seen:
        assert torch.equal(cases.mlp(x, *mlp), cases.mlp(x, *mlp))
    assert len(of_mmlska(seen)) == 1


def test_interpreter_or_gpu_is_offered():
    assert ops.available_backends(DEVICE)[0] == 'triton'
    assert 'triton' not in ops.available_backends(DEVICE, torch.float64)
    assert gpu.pays('lska_attention', make_map(1, 1, 1, 1)) == (DEVICE == 'cuda')


# ---- launches ----


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
    monkeypatch.setattr(gpu_launch, '_compiled', {})
    monkeypatch.setattr(gpu_launch, '_keeps_kernels', lambda: True)
    kernel, x = Kernel(), torch.empty(64, device=DEVICE)

    def launch(x, length):
        plan = gpu_launch.Plan((3,), (length, 1.0), dict(FLAG=True, BLOCK=16, num_warps=4))
        gpu_launch.launch(kernel, (length,), (x, None), lambda: plan)

    launch(x, 5)
    launch(x, 5)
    assert len(kernel.slow) == 1
    # In the order of the kernel's parameters, without options; tensors as addresses.
    assert kernel.fast == [(1, (3, 1, 1), (x.data_ptr(), None, 5, 1.0, 16, True))]
    launch(x, 6)
    launch(x.half(), 5)
    assert len(kernel.slow) == 3
    launch(torch.empty(8, device=DEVICE), 5)
    assert len(kernel.fast) == 2
    # Compiled for addresses that 16 divides.
    launch(x[1:], 5)
    launch(x[1:], 5)
    assert len(kernel.slow) == 5
    assert len(kernel.fast) == 2


def test_eager_functions_are_the_operators():
    """Outside of compiled graphs autograd functions take the place of the custom operators, with the same results."""
    model, x = Ops(), make_map(2, 2, 5, 6)
    wanted = results(model, x)
    calls = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            calls.append(str(func))
            return func(*args, **(kwargs or {}))

    with Watch():
        found = results(model, x)
    assert any('mmlska_triton.lska_training' in call for call in calls)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted))


# ---- on a GPU only ----


@needs_gpu
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=lambda d: str(d)[6:])
def test_real_lack_of_shared_memory_falls_back_alone(lenient, exact_convolutions, monkeypatch, dtype):
    """More stages of loads than any GPU has memory for."""
    flat, dilation = lska_tensors(128, 7, dtype)
    large, small = make_map(1, 128, 9, 15, dtype=dtype), make_map(1, 128, 9, 16, dtype=dtype)
    monkeypatch.setattr(gpu, '_refused', {})
    monkeypatch.setattr(gpu_launch, '_compiled', {})
    settings = gpu_launch.settings

    def many_stages(kernel, x):
        return {**settings(kernel, x), **(dict(stages=64) if kernel.startswith('pointwise') else {})}

    with monkeypatch.context() as patch:
        patch.setattr(gpu_launch, 'settings', many_stages)
        with pytest.warns(UserWarning, match=r'shape \(1, 128, 9, 15\).*OutOfResources.*shared memory') as seen:
            found = cases.lska(large, *flat, dilation, backend='triton')
    assert len(of_mmlska(seen)) == 1
    assert gpu.PROBLEM is None
    torch.testing.assert_close(found, cases.lska_twin(large, *flat, dilation))
    with warnings.catch_warnings():
        warnings.filterwarnings('error', message='mmlska')
        torch.testing.assert_close(cases.lska(large, *flat, dilation, backend='triton'), found)
        cases.lska(small, *flat, dilation, backend='triton')


@needs_gpu
@every_dtype
@pytest.mark.parametrize('k_size', cases.LADDER)
def test_every_kernel_size(dtype, k_size):
    for i, layout in enumerate(cases.LAYOUTS):
        check_lska((2, 24, 40, 72), k_size, dtype, layout, gelu=i == 1)


@needs_gpu
@every_dtype
def test_stages_of_a_network(dtype):
    """Whole tiles, of each size, and several of them."""
    # The largest of millions of errors is larger than that of some hundreds: 1.04 times what these may have, on an H100 in float16.
    check = dict(layouts=['contiguous'], device=DEVICE, slack=1.5)
    for shape in ((2, 64, 128, 128), (2, 128, 64, 64), (2, 320, 32, 32), (2, 512, 16, 16), (1, 64, 200, 334)):
        cases.check_lska('triton', shape, 23, dtype, gelu=True, **check)
        cases.check_depthwise_gelu('triton', shape, dtype, out_channels=64, **check)


@needs_gpu
def test_compiled_by_inductor():
    model, x = Ops(), make_map(2, 2, 33, 20)
    wanted = results(model, x)
    found = results(torch.compile(model, fullgraph=True), x)
    for a, b in zip(found, wanted):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@needs_gpu
def test_two_streams():
    """Work on one stream does not see the scratch memory of the other."""
    flat, dilation = lska_tensors(16, 23, torch.bfloat16)
    maps = [make_map(4, 16, 64, 64, dtype=torch.bfloat16) * (i + 1) for i in range(2)]
    wanted = [cases.lska(x, *flat, dilation, backend='triton') for x in maps]
    streams = [torch.cuda.Stream() for _ in maps]
    torch.cuda.synchronize()
    found = [[], []]
    for _ in range(20):
        for x, stream, outs in zip(maps, streams, found):
            with torch.cuda.stream(stream):
                outs.append(cases.lska(x, *flat, dilation, backend='triton'))
    torch.cuda.synchronize()
    assert all(torch.equal(out, y) for outs, y in zip(found, wanted) for out in outs)


@needs_gpu
def test_cuda_graph_of_a_training_step():
    model, x = Ops(), make_map(2, 2, 33, 20)
    step = partial(results, model, x)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = step()
    x.copy_(torch.randn_like(x))
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(found, step()))


@needs_gpu
def test_cuda_graph():
    model, x = Ops(), make_map(2, 2, 33, 20)
    with torch.no_grad():
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            model(x)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = model(x)
        x.copy_(torch.randn_like(x))
        graph.replay()
        assert torch.equal(y, model(x))


@needs_gpu
@pytest.mark.slow
def test_more_than_two_to_the_31_elements():
    x = torch.randn(1, 3, 26800, 26800, dtype=torch.bfloat16, device=DEVICE)
    assert x.numel() > 2**31
    flat, dilation = lska_tensors(3, 7, torch.bfloat16)
    corner = x[..., -64:, -64:].contiguous()
    with torch.no_grad():
        far = cases.lska(x, *flat, dilation, backend='triton')[..., -32:, -32:]
        torch.testing.assert_close(far, cases.lska(corner, *flat, dilation, backend='triton')[..., -32:, -32:])
        mlp = mlp_tensors(3, torch.bfloat16)
        far = cases.mlp(x, *mlp, backend='triton')[..., -32:, -32:]
        torch.testing.assert_close(far, cases.mlp(corner, *mlp, backend='triton')[..., -32:, -32:])
