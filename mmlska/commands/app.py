"""Try trained models in the browser: mmlska app, or mmlska app --model NAME CONFIG CHECKPOINT."""

import argparse
from pathlib import Path

from ..app.models import Models, find_trained
from ..app.views import find_examples
from ..cli.errors import user_errors
from ..cli.options import add_debug, add_trust_checkpoint
from ..command_line import tool_parser
from ..weights import use_safe_reader


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser('Serve a page to try trained detectors and segmentors on; it works without a network.')
    parser.add_argument(
        '--model',
        nargs=3,
        action='append',
        metavar=('NAME', 'CONFIG', 'CHECKPOINT'),
        help='a model to choose from, may be repeated; by default all that --work-dirs has',
    )
    parser.add_argument('--work-dirs', type=Path, default=Path('work_dirs'), help='where trainings have left models')
    parser.add_argument(
        '--examples', nargs='+', metavar='DIR', help="folders of photos to offer, three of each; by default the demos'"
    )
    parser.add_argument('--host', default='127.0.0.1', help='address to listen at; 0.0.0.0 lets other machines in')
    parser.add_argument('--port', type=int, default=7860, help='port to listen at')
    parser.add_argument(
        '--allow-host', nargs='+', default=[], metavar='NAME', help='more names of the page, as of a proxy'
    )
    parser.add_argument('--max-upload-mb', type=int, default=20, help='megabytes that a photo may have')
    parser.add_argument('--max-megapixels', type=float, default=50, help='millions of pixels that a photo may have')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda:0, ...')
    add_trust_checkpoint(parser)
    add_debug(parser)
    return parser


def main() -> None:
    args = make_parser().parse_args()
    with user_errors(debug=args.debug):
        from ..app.page import Page  # these two need Gradio
        from ..app.serve import serve

        use_safe_reader(trust=args.trust_checkpoint)
        named = {name: (config, checkpoint) for name, config, checkpoint in args.model or ()}
        models = Models(named or find_trained(args.work_dirs), args.device)
        for name in named:
            models[name]  # wrong files are named here, not on the page
        page = Page(models, find_examples(args.examples), args.max_upload_mb, args.max_megapixels)
        serve(page, args.host, args.port, args.allow_host)
