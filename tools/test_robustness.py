#!/usr/bin/env python
"""Detectors and segmentors under corruptions: tools/test_robustness.py CONFIG CHECKPOINT --corruptions all."""

from pathlib import Path

from mmlska.analysis.figures import corrupted_samples, robustness
from mmlska.analysis.photos import dataset_photos
from mmlska.analysis.robustness import choose_corruptions, evaluate, read_reference, summarise
from mmlska.cli.common import prepared_config, runner_parser, user_errors
from mmlska.datasets.corruption import SEVERITIES
from mmlska.images import read_photo
from mmlska.results import markdown_table, save_figure, write_json
from mmlska.weights import WeightsError


def main() -> None:
    parser = runner_parser('Test a checkpoint under image corruptions: mPC, rPC and mCE.')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--corruptions',
        nargs='+',
        default=['standard'],
        help="'standard' (15), 'all' (19), groups or single corruptions",
    )
    parser.add_argument('--severities', nargs='+', type=int, default=list(SEVERITIES), help='from 1 to 5')
    parser.add_argument('--subset', type=int, help='test on so many images, chosen at random by --seed')
    parser.add_argument('--workers', type=int, help="processes that corrupt images; by default the config's")
    parser.add_argument('--reference', help='JSON of another model under the same corruptions, for mCE')
    parser.add_argument(
        '--out', type=Path, help='JSON of the results, resumed if there; by default in the work directory'
    )
    args = parser.parse_args()

    kinds = (ValueError, FileNotFoundError, TypeError, KeyError, WeightsError)
    with user_errors('test_robustness.py', args.debug, kinds):
        corruptions, severities = choose_corruptions(args.corruptions), sorted(set(args.severities))
        cfg = prepared_config(args, seed=0)
        out = args.out or Path(cfg.work_dir) / 'robustness.json'
        content = evaluate(
            cfg,
            args.checkpoint,
            out,
            corruptions=corruptions,
            severities=severities,
            seed=args.seed or 0,
            subset=args.subset,
            workers=args.workers,
            dtype=args.dtype,
        )
        reference = read_reference(args.reference, content) if args.reference else None
        summary = summarise(content['results'], corruptions, severities, reference)
    write_json(out, {**content, 'summary': dict(severities=severities, metrics=summary)})
    chart = save_figure(
        robustness(content['results'], summary, severities, Path(args.config).stem), out.with_suffix('.png')
    )
    print(table(summary))
    print(f'results: {out}; chart: {chart}')
    photo = dataset_photos(cfg, 'test')[0]
    samples = corrupted_samples(read_photo(photo)[..., ::-1], photo.name, corruptions, severities, args.seed or 0)
    print(f'samples: {save_figure(samples, out.with_name(f"{out.stem}_samples.png"))}')


def table(summary: dict) -> str:
    """The means of each metric as a Markdown table."""
    keys = ('clean', 'mPC', 'rPC', 'mCE')
    rows = [
        [metric, *('' if entry.get(key) is None else f'{entry[key]:.3f}' for key in keys)]
        for metric, entry in summary.items()
    ]
    return markdown_table(['metric', *keys], rows)


if __name__ == '__main__':
    main()
