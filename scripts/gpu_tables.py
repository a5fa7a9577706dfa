#!/usr/bin/env python
"""Fill a page's tables from results of the GPU check: scripts/gpu_tables.py docs/benchmark.md.

A section `<!-- gpu STAGE NAME -->` to `<!-- end -->` becomes the table of a stage in docs/results/NAME.json, for operators and networks
with those of the stage `compiled`. A results file is what scripts/gpu_check.py wrote, renamed.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from mmlska.benchmark.report import table
from mmlska.cli.errors import user_errors
from mmlska.cli.options import add_debug
from mmlska.results import fill_section, markdown_table

RESULTS = Path(__file__).resolve().parents[1] / 'docs/results'


def parts_with(key: str, stages: dict) -> list[dict]:
    """The processes' results that have a key; a KeyError where there are none."""
    found = [part for stage in stages.values() for part in stage.values() if key in part]
    if not found:
        raise KeyError(key)
    return found


def operators(stages: dict) -> str:
    """Operators beside the published modules."""
    return table({'records': [record for part in parts_with('records', stages) for record in part['records']]})


def networks(stages: dict) -> str:
    """Training steps and inference of whole backbones."""
    rows = []
    for part in parts_with('contenders', stages):
        base = part['contenders']['published']
        for name, found in part['contenders'].items():
            graph = (
                f'{found["graph"]:.1f}, {base["graph"] / found["graph"]:.2f}x'
                if 'graph' in found and 'graph' in base
                else ''
            )
            rows.append(
                [
                    f'VAN-{part["arch"].upper()} {part["kind"]}',
                    name,
                    f'{found["images_per_second"]:.0f}',
                    f'{base["median"] / found["median"]:.2f}x',
                    f'{found["peak_bytes"] / 1e9:.2f}',
                    f'{found["peak_bytes"] / base["peak_bytes"]:.2f}x',
                    graph,
                ]
            )
    head = ['network', 'contender', 'images/s', 'speed', 'peak, GB', 'memory', 'as a CUDA graph, ms']
    return markdown_table(head, rows)


def profile(stages: dict) -> str:
    """What takes the time of a training step: operators with their shares of the two ceilings."""
    part = stages['profile']['profile']
    rows = [
        [
            f'`{row["operator"]}`',
            f'{row["us"] / 1e3:.2f}',
            f'{row["share"]:.1%}',
            *(f'{row[key]:.0%}' if row[key] else '' for key in ('of_bandwidth', 'of_matrix_rate')),
        ]
        for row in part['operators']
    ]
    return markdown_table(['operator', 'ms', 'share', 'of copy bandwidth', 'of matrix rate'], rows)


def kernels(stages: dict) -> str:
    """The 15 kernels that take the time of a training step."""
    part = stages['profile']['profile']
    rows = [
        [
            f'`{short(kernel["name"])}`',
            str(kernel['calls']),
            f'{kernel["us"] / 1e3:.2f}',
            f'{kernel["us"] / part["kernel_us"]:.1%}',
        ]
        for kernel in part['kernels'][:15]
    ]
    return markdown_table(['kernel', 'calls', 'ms', 'share'], rows)


def short(name: str) -> str:
    """A kernel's name without its namespaces and most of its template arguments.

    Example:
        >>> short('void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float> >(at::native::ReduceOp<float>)')
        'reduce_kernel<512, 1, ReduceOp<float> >'
    """
    plain = re.sub(r'\b(?:\w+::)+|\(anonymous namespace\)::|^void ', '', name)
    return re.sub(r'\(.*', '', plain)[:60]


STAGES = dict(operators=operators, networks=networks, profile=profile, kernels=kernels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('page', type=Path)
    parser.add_argument('--results', type=Path, default=RESULTS, help='folder of the results; default docs/results')
    add_debug(parser)
    args = parser.parse_args()
    with user_errors(debug=args.debug):
        tables = {section: make(section, args.results) for section in sections(args.page)}
        # All of them are there, or the page stays as it is.
        for section, text in tables.items():
            fill_section(args.page, section, text)


def sections(page: Path) -> list[str]:
    """The names of the sections that a page has."""
    if not page.is_file():
        raise FileNotFoundError(f'{page} is no file; give a Markdown page')
    found = re.findall(r'<!-- (gpu\b[^>]*) -->', page.read_text(encoding='utf-8'))
    if not found:
        raise ValueError(f'{page} has no section; mark one by <!-- gpu STAGE NAME --> and <!-- end -->')
    return found


def make(section: str, results: Path) -> str:
    """The table of a section."""
    parts = section.split()
    if len(parts) != 3 or parts[1] not in STAGES:
        raise ValueError(f'section {section!r} must be gpu STAGE NAME with a stage of {", ".join(STAGES)}')
    file = results / f'{parts[2]}.json'
    if not file.is_file():
        raise FileNotFoundError(
            f'{file} of section {section!r} does not exist; copy a gpu_check.json there under that name'
        )
    try:
        return STAGES[parts[1]](json.loads(file.read_text(encoding='utf-8'))['stages'])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{file} has no whole results of stage {parts[1]!r} ({error}); take the file of a run on a GPU that finished it'
        ) from error


if __name__ == '__main__':
    main()
