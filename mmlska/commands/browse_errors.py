"""Look through a model's errors in a browser: mmlska browse-errors CONFIG CHECKPOINT_OR_PKL --out errors."""

import argparse
from pathlib import Path

from ..analysis.error_gallery import write_error_gallery
from ..analysis.gallery import check_folder
from ..cli.errors import user_errors
from ..cli.options import add_cfg_options, add_debug, add_overwrite, add_trust_checkpoint
from ..cli.progress import count_every_hundred
from ..command_line import tool_parser
from ..engine.config import load_config
from ..engine.launch import prepare
from ..weights import WeightsError, use_safe_reader


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser(
        "Sort a model's errors by kind and by what they cost, and write a gallery to look through them."
    )
    add = parser.add_argument
    add('config', help="a detector's or segmentor's config: its file, or its name in `mmlska configs`")
    add('source', help='checkpoint to test, or predictions of mmlska test --out FILE.pkl')
    add('--out', help='folder of the gallery; by default work_dirs/<config name>/errors')
    add('--score-thr', type=float, default=0.3, help='detections below it are no errors')
    add('--limit', type=int, default=500, help='at most so many images, the costliest')
    add_overwrite(parser, 'replace a gallery that is there')
    add_cfg_options(parser)
    add_trust_checkpoint(parser)
    add_debug(parser)
    return parser


def main() -> None:
    args = make_parser().parse_args()
    work_dir = Path('work_dirs') / Path(args.config).stem
    out = Path(args.out or work_dir / 'errors')
    with user_errors(debug=args.debug):
        check_folder(out, args.overwrite)
        use_safe_reader(trust=args.trust_checkpoint)
        cfg = load_config(args.config, args.cfg_options)
        prepare(cfg, args.config, work_dir=str(work_dir), launcher='none', seed=0)
    settings = dict(score_thr=args.score_thr, limit=args.limit, overwrite=args.overwrite)
    with user_errors(debug=args.debug, kinds=(FileNotFoundError, FileExistsError, ValueError, WeightsError)):
        progress = count_every_hundred('images')
        page, summary = write_error_gallery(cfg, args.config, args.source, out, progress=progress, **settings)
    print(summary)
    print(f'open in a browser: {page}')
