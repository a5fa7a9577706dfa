#!/usr/bin/env python
"""Speed and memory beside the published modules: tools/benchmark.py {op,backbone,model}."""

import argparse
import json
import os
import shlex
import sys
from itertools import product
from pathlib import Path

import torch

from mmlska.benchmark.cases import backbone_case, model_case, op_case, stage_dims
from mmlska.benchmark.contenders import CONTENDERS, DEPLOYMENT, PASSES
from mmlska.benchmark.measure import measure_case
from mmlska.benchmark.report import draw_chart, label, table
from mmlska.benchmark.timing import copy_bandwidth, own_stream
from mmlska.cli.common import user_errors
from mmlska.models.attention import ATTENTIONS
from mmlska.models.van_lska import ARCHS
from mmlska.results import fill_section, run_environment, write_json

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
OPS = (*ATTENTIONS, 'depthwise_gelu', 'mlp')


def size(text: str) -> tuple[int, int]:
    """Read HEIGHTxWIDTH."""
    height, width = text.split('x')
    return int(height), int(width)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('kind', choices=['op', 'backbone', 'model'])
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--threads', type=int, help="CPU threads; default torch's own")
    parser.add_argument('--ops', nargs='+', choices=OPS, default=['lska', 'depthwise_gelu', 'mlp'])
    parser.add_argument(
        '--archs', nargs='+', choices=['t', 's', 'b', 'l'], default=['t', 'b'], help='op: the first only'
    )
    parser.add_argument(
        '--configs', nargs='+', default=['configs/fpn_van_lska_t.py', 'configs/retinanet_van_lska_t.py']
    )
    parser.add_argument('--attention', choices=tuple(ATTENTIONS), default='lska', help='backbone')
    parser.add_argument('--k-sizes', nargs='+', type=int, default=[23])
    parser.add_argument('--stages', nargs='+', type=int, choices=[1, 2, 3, 4], default=[1, 2, 3, 4])
    parser.add_argument(
        '--sizes', nargs='+', type=size, default=[(512, 512)], metavar='HEIGHTxWIDTH', help='image size'
    )
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--dtypes', nargs='+', choices=list(DTYPES), default=['fp32'])
    parser.add_argument('--passes', nargs='+', choices=PASSES, default=list(PASSES))
    parser.add_argument(
        '--contenders',
        nargs='+',
        choices=[*CONTENDERS, *DEPLOYMENT],
        default=list(CONTENDERS),
        metavar='NAME',
        help=f'of {", ".join(CONTENDERS)}; in inference of backbones and models {" and ".join(DEPLOYMENT)}',
    )
    parser.add_argument('--seconds', type=float, default=3.0, help='time to spend on timing each case')
    parser.add_argument('--profile', action='store_true', help='also record which operators take the time')
    parser.add_argument('--name', default='', help='added to the name of the results file')
    parser.add_argument('--append', action='store_true', help='add to the results file instead of writing it anew')
    parser.add_argument('--out', type=Path, default=Path('docs/results'), help='folder of the results file and chart')
    parser.add_argument(
        '--redraw', action='store_true', help='time nothing: chart and table of the results file as it is'
    )
    parser.add_argument('--readme', type=Path, help="also fill the section '<kind> benchmark <device>' of this file")
    parser.add_argument('--debug', action='store_true', help='show the traceback of a wrong setting')
    return parser.parse_args()


def cases(args: argparse.Namespace, device: torch.device):
    """Functions that build the cases, in the order of the tables."""
    names = tuple(args.contenders)
    common = dict(batch=args.batch, device=device, names=names)
    for (height, width), dtype, passes in product(args.sizes, args.dtypes, args.passes):
        rest = dict(common, dtype=DTYPES[dtype], passes=passes)
        if args.kind == 'op':
            for op, k_size in product(args.ops, args.k_sizes):
                if op not in ATTENTIONS and k_size != args.k_sizes[0]:
                    continue
                for stage in args.stages:
                    stride, dim = 2 ** (stage + 1), stage_dims(op, args.archs[0])[stage - 1]
                    shape = -(-height // stride), -(-width // stride)
                    ratio = ARCHS[args.archs[0]]['ffn_ratios'][stage - 1]
                    yield lambda op=op, k=k_size, d=dim, s=shape, r=dict(rest, ratio=ratio): op_case(
                        op, d, s, k_size=k, **r
                    )
        elif args.kind == 'backbone':
            for arch, k_size in product(args.archs, args.k_sizes):
                yield lambda a=arch, k=k_size, s=(height, width), r=rest: backbone_case(
                    a, s, k_size=k, attention=args.attention, **r
                )
        elif passes == 'forward':
            for config in args.configs:
                yield lambda c=config, s=(height, width), r=rest: model_case(
                    c, s, **{k: v for k, v in r.items() if k != 'passes'}
                )


def main() -> None:
    args = parse()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    with user_errors('benchmark.py', args.debug):
        gpu = device.type == 'cuda'
        where = torch.cuda.get_device_name(device).split()[-1].lower() if gpu else 'cpu'
        suffix = f'_{args.name}' if args.name else ''
        file = args.out / f'{args.kind}_{where}_torch{torch.__version__.split("+")[0]}{suffix}.json'
        if args.redraw and not file.exists():
            raise FileNotFoundError(f'results file {file} does not exist; leave out --redraw to measure')
        results = json.loads(file.read_text()) if args.redraw else measure(args, device, file)
        draw_chart(results, file.with_suffix('.png'))
        print(f'results: {file}, chart: {file.with_suffix(".png")}')
        if args.readme:
            fill_section(args.readme, f'{args.kind} benchmark {where}{suffix}', table(results))


def measure(args: argparse.Namespace, device: torch.device, file: Path) -> dict:
    """Time the cases; the results file has each as soon as it is done."""
    bandwidth = copy_bandwidth(device)
    print(f'copy bandwidth {bandwidth / 1e9:.1f} GB/s')
    # Whether freed memory goes back to the system at once decides how often each new map costs page faults.
    allocator = {key: value for key, value in os.environ.items() if key.startswith(('MALLOC_', 'THP_', 'LD_PRELOAD'))}
    here = {**run_environment(), 'allocator': allocator}
    results = json.loads(file.read_text()) if args.append and file.exists() else {**here, 'records': []}
    command = shlex.join(['python', 'tools/benchmark.py', *sys.argv[1:]])
    # What the file says of its first run stays; a record says what was otherwise in its own.
    own = {key: value for key, value in here.items() if value != results.get(key)}
    run = {'command': command, 'date': here['date'], **own, 'copy_bytes_per_second': bandwidth}
    # A contender that falls back to plain PyTorch fails instead of being timed.
    os.environ['MMLSKA_STRICT'] = '1'
    for build in cases(args, device):
        with own_stream(device):
            record = measure_case(build(), device, args.seconds, args.profile)
        results['records'].append({**record, **run})
        print(label(record), record['dtype'], record['pass'], flush=True)
        for name, values in record['contenders'].items():
            print(
                f'    {name:24}',
                values.get('failed')
                or f'{values["median"]:9.3f} ms  {values.get("saved_bytes", 0) / 1e6:8.1f} MB saved',
                flush=True,
            )
        write_json(file, results)
    return results


if __name__ == '__main__':
    main()
