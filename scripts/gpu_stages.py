#!/usr/bin/env python
"""The stages of scripts/gpu_check.py, each run by it in processes of its own: scripts/gpu_stages.py STAGE [WHAT ...]."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import torch
from gpu_profile import profile_step
from gpu_speed import compiled, networks, operators
from gpu_stage import Stage
from gpu_training import training
from gpu_tune import tune

from mmlska.benchmark.timing import copy_bandwidth, own_stream, time_interleaved
from mmlska.results import run_environment

ROOT = Path(__file__).resolve().parents[1]


def environment(stage: Stage) -> None:
    """The card and its two ceilings."""
    stage.write(**run_environment(), cpu_count=os.cpu_count())
    size = 64 if stage.smoke else 8192
    dtype = torch.bfloat16
    if stage.device.type == 'cuda':
        query = 'name,driver_version,memory.total,clocks.sm,clocks.max.sm,clocks.mem,temperature.gpu,power.draw'
        done = subprocess.run(
            ['nvidia-smi', f'--query-gpu={query}', '--format=csv'], capture_output=True, text=True, check=False
        )
        properties = torch.cuda.get_device_properties(0)
        stage.write(
            card=properties.name,
            nvidia_smi=done.stdout.strip().splitlines(),
            cuda=torch.version.cuda,
            multiprocessors=properties.multi_processor_count,
            memory_bytes=properties.total_memory,
            l2_bytes=properties.L2_cache_size,
        )
    a, b = (torch.randn(size, size, device=stage.device).to(dtype) for _ in range(2))
    stage.turn()
    copy = copy_bandwidth(stage.device, megabytes=1 if stage.smoke else 2048)
    product = time_interleaved({'product': lambda: a @ b}, stage.device, 0.1 if stage.smoke else 1.0)['product']
    rate = 2 * size**3 / (product.median / 1e3)
    stage.write(copy_bytes_per_second=copy, bf16_flops_per_second=rate)
    stage.say(
        f'{stage.result.get("card", "CPU")}, torch {torch.__version__}, copy {copy / 1e12:.2f} TB/s, bf16 {rate / 1e12:.0f} TFLOP/s'
    )


def correct(stage: Stage) -> None:
    """The tests of the operators, which compare with the reference in float64."""
    files = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob('tests/ops/test_triton*.py'))
    target = [*files, '-n', str(stage.processes), '-v']
    if stage.smoke:
        files.remove('tests/ops/test_triton.py')  # what says that the interpreter is no GPU
        target = [*files, '-v', '-k', 'twice_the_same or empty_batch or nan_does_not_vanish']
    command = [sys.executable, '-m', 'pytest', *target, '-o', 'addopts=-ra', '-p', 'no:cacheprovider', '--tb=short']
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    outcomes: dict[str, list[str]] = defaultdict(list)
    for line in process.stdout:
        print(line, end='', flush=True)
        # With several processes the outcome comes before the name, otherwise after it.
        if '::' in line and (found := re.search(r'\b(PASSED|FAILED|ERROR|SKIPPED)\b', line)) and ' - ' not in line:
            name = re.search(r'\S+::\S+', line)[0]
            if name not in outcomes[found[1]]:
                outcomes[found[1]].append(name)
                stage.write(
                    passed=len(outcomes['PASSED']),
                    failed=outcomes['FAILED'] + outcomes['ERROR'],
                    skipped=outcomes['SKIPPED'],
                )
    code = process.wait()
    failed = outcomes['FAILED'] + outcomes['ERROR']
    stage.say(f'{len(outcomes["PASSED"])} tests passed, {len(failed)} failed, {len(outcomes["SKIPPED"])} skipped')
    for name in failed[:20]:
        stage.say(f'failed: {name}')
    raise SystemExit(code)


def sanitizer(stage: Stage) -> None:
    """A small case of every kernel under compute-sanitizer."""
    tool = stage.what[0]
    program = shutil.which('compute-sanitizer', path=os.environ['PATH'] + ':/usr/local/cuda/bin')
    if program is None:
        stage.say('compute-sanitizer is not on PATH; it comes with the CUDA toolkit')
        raise SystemExit(3)
    command = [program, '--tool', tool, '--error-exitcode', '9', '--print-limit', '40']
    command += [sys.executable, __file__, 'small', '--folder', str(stage.folder), '--name', f'{stage.name}-small']
    # Every tensor has memory of its own, so that an access beside it is seen.
    environment = {**os.environ, 'PYTORCH_NO_CUDA_MEMORY_CACHING': '1'}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    print(done.stdout, flush=True)
    lines = re.findall(r'=+ (ERROR SUMMARY.*|RACECHECK SUMMARY.*)', done.stdout)
    kernels = sorted(set(re.findall(r'at (?:void )?(\w+)', done.stdout)))
    stage.write(tool=tool, exit=done.returncode, kernels_named=kernels)
    stage.say(f'{tool}: {lines[-1] if lines else "no summary"}' + (f' in {", ".join(kernels)}' if kernels else ''))
    raise SystemExit(done.returncode)


def small(stage: Stage) -> None:
    """What the sanitizer watches: both operators forward and backward, on maps with borders, in two dtypes."""
    sys.path.insert(0, str(ROOT / 'tests/ops'))
    import ops_cases as cases

    for dtype in (torch.bfloat16, torch.float32):
        flat, dilation = cases.lska_tensors(20, 23, dtype)
        x = cases.make_map((2, 20, 33, 50), dtype, 'contiguous', device=stage.device)
        inputs = [x, *(t.to(stage.device) for t in flat)]
        found = cases.outputs_and_grads(lambda *t, d=dilation: cases.lska(*t, d, backend='triton'), inputs, x)
        mlp = [t.to(stage.device) for t in cases.mlp_tensors(20, dtype, 8)]
        grad = cases.make_map((2, 8, 33, 50), dtype, 'contiguous', device=stage.device)
        found += cases.outputs_and_grads(lambda *t: cases.mlp(*t, backend='triton'), [x, *mlp], grad)
        if not all(t.isfinite().all() for t in found):
            raise SystemExit(f'{dtype}: a result is not finite')
    print('all finite')


RUN = dict(
    environment=environment,
    correct=correct,
    sanitizer=sanitizer,
    small=small,
    operators=operators,
    networks=networks,
    training=training,
    profile=profile_step,
    compiled=compiled,
    tune=tune,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('stage', choices=list(RUN))
    parser.add_argument('what', nargs='*', help='the part of the stage')
    parser.add_argument('--folder', type=Path, required=True, help='where results and signals lie')
    parser.add_argument('--name', required=True, help='of this process')
    parser.add_argument('--wait', action='store_true', help='measure only when NAME.go appears')
    parser.add_argument('--smoke', action='store_true')
    parser.add_argument('--data', type=Path)
    parser.add_argument('--training-seconds', type=float, default=60.0)
    parser.add_argument('--processes', type=int, default=2)
    args = parser.parse_args()
    stage = Stage(args)
    with own_stream(stage.device):
        RUN[args.stage](stage)


if __name__ == '__main__':
    main()
