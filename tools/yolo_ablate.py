#!/usr/bin/env python
"""Stock YOLO beside LSKA at four places, same data, seeds and epochs: tools/yolo_ablate.py data/fruits_nuts."""

import argparse
from pathlib import Path

from mmlska.cli.common import user_errors


def main() -> None:
    parser = argparse.ArgumentParser(
        description='Train stock YOLO and YOLO with LSKA alike and compare them.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('data', type=Path, help='data.yaml of Ultralytics, or the folder of the fruits_nuts data')
    parser.add_argument(
        '--base', default='yolo11n.yaml', help='stock YAML (from scratch) or .pt file (LSKA is attached)'
    )
    parser.add_argument(
        '--variants', nargs='+', default=['stock', 'bottleneck', 'sppf', 'neck', 'head'], metavar='NAME'
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--k-size', type=int, default=11, help='kernel of LSKA attached to a .pt file')
    parser.add_argument('--epochs', type=int, default=60)
    parser.add_argument('--imgsz', type=int, default=320)
    parser.add_argument('--batch', type=int, default=7)
    parser.add_argument('--workers', type=int, default=0)
    parser.add_argument('--device', default='cpu', help='cpu, 0, ...')
    parser.add_argument('--lr0', type=float, default=0.002, help='learning rate of AdamW')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/yolo_ablate'))
    parser.add_argument('--out', type=Path, help='results file; default docs/results/yolo_ablate_<data>.json')
    parser.add_argument('--readme', type=Path, help="also fill the section 'yolo table' of this file")
    parser.add_argument('--trust-checkpoint', action='store_true', help='read a .pt file that runs code of its own')
    parser.add_argument('--debug', action='store_true', help='show the traceback of a wrong setting')
    args = parser.parse_args()

    with user_errors('yolo_ablate.py', args.debug):
        from mmlska.results import fill_section
        from mmlska.yolo.ablation import ablate, table
        from mmlska.yolo.data import data_name, fruits_to_yolo

        data = args.data if args.data.is_file() else fruits_to_yolo(args.data, args.work_dir / args.data.resolve().name)
        settings = dict(
            epochs=args.epochs, imgsz=args.imgsz, batch=args.batch, workers=args.workers, device=args.device
        )
        # nbs is the batch for which Ultralytics' learning rate holds: one step for each batch of this small data set.
        settings.update(optimizer='AdamW', lr0=args.lr0, nbs=args.batch, amp=False, val=True, patience=0)
        out = args.out or Path(f'docs/results/yolo_ablate_{data_name(data)}.json')
        results = ablate(
            data.absolute(),
            out,
            base=args.base,
            variants=args.variants,
            seeds=args.seeds,
            k_size=args.k_size,
            settings=settings,
            work_dir=args.work_dir.absolute(),
            trust=args.trust_checkpoint,
        )
        if args.readme:
            fill_section(args.readme, 'yolo table', table(results))
    print(table(results))


if __name__ == '__main__':
    main()
