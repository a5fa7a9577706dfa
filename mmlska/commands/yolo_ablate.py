"""Stock YOLO beside LSKA at four places, same data, seeds and epochs: mmlska yolo-ablate data/fruits_nuts."""

import argparse
from pathlib import Path

from ..cli.errors import user_errors
from ..cli.options import add_debug, add_trust_checkpoint, out_file, out_folder
from ..command_line import tool_parser
from ..results import fill_section


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser('Train stock YOLO and YOLO with LSKA alike and compare them.')
    add = parser.add_argument
    add('data', type=Path, help='data.yaml of Ultralytics, or the folder of the fruits_nuts data')
    add('--base', default='yolo11n.yaml', help='stock YAML (from scratch) or .pt file (LSKA is attached)')
    add('--variants', nargs='+', metavar='NAME', help='stock, or places of LSKA; by default all')
    add('--seeds', nargs='+', type=int, default=[0, 1, 2])
    add('--k-size', type=int, default=11, help='kernel of LSKA attached to a .pt file')
    add('--epochs', type=int, default=60)
    add('--imgsz', type=int, default=320)
    add('--batch', type=int, default=7)
    add('--workers', type=int, default=0)
    add('--device', default='cpu', help='cpu, 0, ...')
    add('--lr0', type=float, default=0.002, help='learning rate of AdamW')
    add('--work-dir', type=out_folder, default=Path('work_dirs/yolo_ablate'))
    add('--out', type=out_file, help='results file; default WORK_DIR/<data>.json')
    add('--readme', type=Path, help="also fill the section 'yolo table' of this file")
    add_trust_checkpoint(parser)
    add_debug(parser)
    return parser


def main() -> None:
    args = make_parser().parse_args()
    with user_errors(debug=args.debug):
        from ..yolo.ablation import VARIANTS, ablate, find_data, table, training_settings  # imports Ultralytics
        from ..yolo.data import data_name

        data = find_data(args.data, args.work_dir)
        chosen = {name: getattr(args, name) for name in ('epochs', 'imgsz', 'batch', 'workers', 'device', 'lr0')}
        results = ablate(
            data.absolute(),
            args.out or args.work_dir / f'{data_name(data)}.json',
            base=args.base,
            variants=args.variants or VARIANTS,
            seeds=args.seeds,
            k_size=args.k_size,
            settings=training_settings(**chosen),
            work_dir=args.work_dir.absolute(),
            trust=args.trust_checkpoint,
        )
        if args.readme:
            fill_section(args.readme, 'yolo table', table(results))
    print(table(results))
