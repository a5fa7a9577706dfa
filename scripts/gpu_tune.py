"""A stage of the GPU check: other launch settings of the kernels, and other ways to run a 1x1 convolution."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from gpu_stage import Stage
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from mmlska.benchmark.timing import captured, time_interleaved
from mmlska.ops.triton import chain, chain_gradient, depthwise, launch, pointwise

# Each list is of changes to the settings of a kernel, tried one by one.
CANDIDATES: dict[str, list[dict]] = {
    'chain': [
        {},
        dict(maxnreg=None),
        dict(maxnreg=None, max_warps=4),
        dict(max_warps=4),
        dict(stages=2),
        dict(stages=1),
        dict(step=(32, 32)),
        dict(step=(128, 32)),
        dict(tile=(64, 64)),
        dict(per_warp=512),
        dict(per_warp=512, maxnreg=None, max_warps=16),
        dict(per_warp=2048),
        dict(per_warp=256),
    ],
    'pointwise': [
        {},
        dict(block=64),
        dict(block=64, warps=(8, 8)),
        dict(inner=32),
        dict(inner=32, stages=4),
        dict(stages=4),
        dict(stages=2),
        dict(warps=(4, 4)),
        dict(pixels=(64, 64)),
        dict(pixels=(256, 64)),
        dict(block=256, warps=(8, 8)),
        dict(block=64, pixels=(256, 64)),
    ],
    'pointwise_before': [{}, dict(inner=64), dict(stages=4), dict(pixels=(64, 64)), dict(block=64)],
    'pointwise_after': [{}, dict(inner=64), dict(stages=4), dict(stages=2), dict(pixels=(64, 64)), dict(warps=(8, 8))],
    'pointwise_gradient': [
        {},
        dict(pixels=((128, 64), (128, 64))),
        dict(pixels=((32, 32), (32, 32))),
        dict(stages=4),
        dict(stages=2),
        dict(programs=264),
        dict(programs=1024),
        dict(block=128, warps=8),
        dict(block=128, warps=4),
        dict(block=128, warps=8, programs=264, pixels=((128, 64), (128, 64))),
    ],
    'band_gradient': [
        {},
        dict(warps=(2, 2)),
        dict(warps=(1, 4)),
        dict(stages=2),
        dict(programs=264),
        dict(programs=264, stages=2),
        dict(programs=1024),
    ],
    'depthwise': [
        {},
        dict(rows=16),
        dict(rows=64),
        dict(rows=128),
        dict(elements=512),
        dict(elements=2048),
        dict(elements=2048, warps=8),
        dict(elements=512, warps=2),
        dict(elements=256, warps=2),
        dict(elements=1024, warps=8),
        dict(elements=1024, warps=2),
    ],
}


def tune(stage: Stage) -> None:
    """Time a kernel with other settings at the four stages of VAN-B, after its results were found to be the same."""
    kernel = stage.what[0] if stage.what else 'pointwise'
    if kernel == 'libraries':
        libraries(stage)
        return
    shapes = [(16, 64, 128, 128), (16, 128, 64, 64), (16, 320, 32, 32), (16, 512, 16, 16)]
    candidates = CANDIDATES[kernel]
    if stage.smoke:
        shapes, candidates = [(1, 2, 5, 4)], candidates[:2]
    elif kernel == 'depthwise':
        shapes = [(n, c * e, h, w) for (n, c, h, w), e in zip(shapes, (8, 8, 4, 4))]
    names = kernel, f'{kernel}_backward', f'{kernel}_scaled'
    module = next(m for m in (chain, chain_gradient, depthwise, pointwise) if kernel in m.SETTINGS)
    original = module.settings
    prepared = []
    on_shape = {shape: launches(kernel, shape, stage.device) for shape in shapes}
    pool = None if stage.smoke else torch.cuda.graph_pool_handle()
    for shape, changes in itertools.product(shapes, candidates):
        functions = on_shape[shape]

        def changed(name, x, changes=changes):
            return {**original(name, x), **(changes if name in names else {})}

        module.settings = changed
        for part, function in functions.items():
            try:
                launch._compiled.clear()
                found = [t for t in tree_leaves(function()) if isinstance(t, Tensor)]
                module.settings = original
                launch._compiled.clear()
                wanted = [t for t in tree_leaves(function()) if isinstance(t, Tensor)]
                module.settings = changed
                launch._compiled.clear()
                # Partial sums of another number of programs differ in shape; their sums do not.
                same = all(
                    torch.allclose(
                        a.float().sum(0), b.float().sum(0), rtol=2e-2, atol=0.05 * b.float().abs().max().item() + 1e-6
                    )
                    for a, b in zip(found, wanted)
                    if a.shape[1:] == b.shape[1:]
                )
                prepared.append((shape, part, changes, captured(function, stage.device, pool) if same else None))
            except Exception as error:  # noqa: BLE001, a candidate that does not compile is a result too
                print(kernel, part, shape, changes, f'{type(error).__name__}: {str(error)[:160]}', flush=True)
        module.settings = original
    stage.turn()
    rows = []
    prepared.sort(key=lambda entry: (shapes.index(entry[0]), entry[1]))
    for (shape, part), group in itertools.groupby(prepared, key=lambda entry: entry[:2]):
        group = list(group)
        good = {str(i): entry[3] for i, entry in enumerate(group) if entry[3]}
        timings = time_interleaved(good, stage.device, 0.05 if stage.smoke else 0.5)
        found = [
            dict(
                kernel=part, shape=list(shape), changes=entry[2], us=timings[str(i)].median * 1e3 if entry[3] else None
            )
            for i, entry in enumerate(group)
        ]
        rows += found
        stage.write(rows=rows)
        timed = sorted((r for r in found if r['us']), key=lambda r: r['us'])
        now = next((r['us'] for r in timed if not r['changes']), float('nan'))
        best = ', '.join(f'{r["us"]:.1f} {r["changes"] or "as now"}' for r in timed[:3])
        wrong = sum(entry[3] is None for entry in group)
        stage.say(
            f'{part} {"x".join(map(str, shape))}: now {now:.1f} us; best {best}' + (f'; {wrong} wrong' if wrong else '')
        )
    if not rows or any(row['us'] is None for row in rows):
        raise SystemExit(3)


def libraries(stage: Stage) -> None:
    """Time the ways to run a 1x1 convolution, forward and with its backward pass, for the shapes of VAN-B."""

    def conv(x, weight, bias):
        return nn.functional.conv2d(x, weight, bias)

    def baddbmm(x, weight, bias):
        y = torch.baddbmm(bias[:, None], weight.flatten(1).expand(x.shape[0], -1, -1), x.flatten(2))
        return y.unflatten(2, x.shape[2:])

    torch.backends.cudnn.benchmark = True
    pool = torch.cuda.graph_pool_handle()
    plans = []
    for (c, size), ratio in zip(((64, 128), (128, 64), (320, 32), (512, 16)), (8, 8, 4, 4)):
        for inputs, outputs in ((c, c), (c, ratio * c), (ratio * c, c)):
            x = torch.randn(16, inputs, size, size, device=stage.device, dtype=torch.bfloat16, requires_grad=True)
            last = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
            weight = torch.randn(outputs, inputs, 1, 1, device=stage.device) * inputs**-0.5
            weight = weight.bfloat16().requires_grad_()
            bias = torch.randn(outputs, device=stage.device).bfloat16().requires_grad_()
            grad = torch.randn(16, outputs, size, size, device=stage.device, dtype=torch.bfloat16)
            ways = {
                'conv': (conv, x),
                'conv channels_last': (conv, last),
                'baddbmm': (baddbmm, x),
                'mmlska': (torch.ops.mmlska_triton.pointwise, x),
            }
            for passes in ('forward', 'forward+backward'):
                graphs = {}
                for name, (way, data) in ways.items():
                    upstream = grad.contiguous(memory_format=torch.channels_last) if data is last else grad

                    def run(way=way, data=data, upstream=upstream, passes=passes, weight=weight, bias=bias):
                        if passes == 'forward':
                            with torch.no_grad():
                                return way(data, weight, bias)
                        return torch.autograd.grad(way(data, weight, bias), (data, weight, bias), upstream)

                    graphs[name] = captured(run, stage.device, pool), run
                plans.append((f'1x1 {inputs} to {outputs} at {size}, {passes}', x.nbytes + grad.nbytes, graphs))
    stage.turn()
    copy = stage.ceilings().get('copy_bytes_per_second')
    rows = []
    for label, least, graphs in plans:
        timings = time_interleaved({name: graph for name, (graph, _) in graphs.items()}, stage.device, 0.3)
        times = {name: timing.median * 1e3 for name, timing in timings.items()}
        rows.append(dict(case=label, least_us=least / copy * 1e6 if copy else None, us=times))
        stage.write(rows=rows)
        floor = f', one read and one write {least / copy * 1e6:.0f}' if copy else ''
        stage.say(f'{label}: ' + ', '.join(f'{n} {t:.0f}' for n, t in times.items()) + f' us{floor}')


# Width of an MLP over that of its block, by the block's.
RATIOS = {64: 8, 128: 8, 320: 4, 512: 4}


def launches(kernel: str, shape: tuple[int, ...], device: torch.device) -> dict[str, Callable[[], object]]:
    """What launches a kernel on random maps as an LSKA of K = 23, or an MLP, does."""
    n, c, h, w = shape
    generator = torch.Generator().manual_seed(0)

    def rand(*size: int, scale: float = 1.0) -> Tensor:
        return (torch.randn(size, generator=generator) * scale).to(device, torch.bfloat16)

    x, y = rand(*shape), rand(*shape)
    bias, weight = rand(c), rand(c, c, scale=c**-0.5)
    kernel3 = rand(c, 1, 3, 3)
    taps = chain.Taps(rand(c, 1, 1, 5), rand(c, 1, 5, 1), rand(c, 1, 1, 7), rand(c, 1, 7, 1))

    def chain_with_bands():
        ver, hor = chain.axes_of(x, taps, 3)
        return chain.launch_chain(x, ver, hor, chain.launch_bands(x, taps, ver, hor), (bias,) * 4)

    def band_gradient(vertical: bool):
        axes = chain.axes_of(x, taps, 3)
        bands = chain.launch_bands(x, taps, *axes)
        return chain_gradient.launch_band_gradient(x, y, *(axes if vertical else axes[::-1]), bands)

    # The MLP's 1x1s, wide in and wide out.
    wide = rand(n, RATIOS.get(c, 2) * c, h, w) if kernel.startswith('pointwise') else x
    into, back = rand(wide.shape[1], c, scale=c**-0.5), rand(c, wide.shape[1], scale=wide.shape[1] ** -0.5)
    return {
        'chain': lambda: {'chain with its bands': chain_with_bands},
        'pointwise': lambda: {
            'pointwise to wide': lambda: pointwise.launch_pointwise(
                into, wide[0, :, 0, 0].contiguous(), x, launch.new_map(wide)
            ),
            'pointwise from wide': lambda: pointwise.launch_pointwise(back, bias, wide, launch.new_map(x)),
        },
        'pointwise_before': lambda: {
            'pointwise before': lambda: pointwise.launch_pointwise(weight.t(), None, x, launch.new_map(x), before=y)
        },
        'pointwise_after': lambda: {
            'pointwise after': lambda: pointwise.launch_pointwise(weight, bias, x, launch.new_map(x), after=y)
        },
        'pointwise_gradient': lambda: {
            'pointwise_gradient scaled': lambda: pointwise.launch_pointwise_gradient(x, y, factor=x),
            'pointwise_gradient to wide': lambda: pointwise.launch_pointwise_gradient(wide, x),
            'pointwise_gradient from wide': lambda: pointwise.launch_pointwise_gradient(x, wide),
        },
        'band_gradient': lambda: {
            'band_gradient vertical': lambda: band_gradient(True),
            'band_gradient horizontal': lambda: band_gradient(False),
        },
        'depthwise': lambda: {
            'depthwise': lambda: depthwise.launch_depthwise(x, kernel3, bias)[0],
            'depthwise backward': lambda: depthwise.launch_depthwise(x, kernel3, bias, y, launch.new_map(x)),
        },
    }[kernel]()
