#!/usr/bin/env python
"""Write a trained model as one file: tools/export.py CONFIG CHECKPOINT --out model.onnx."""

import argparse
from pathlib import Path

from mmlska.cli.common import user_errors
from mmlska.engine.config import load_config


def main() -> None:
    parser = argparse.ArgumentParser(
        description='Export a trained model and compare the file with the model.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint of a training with that config')
    parser.add_argument('--out', required=True, type=Path, help='the file: .onnx, or .pt2 for the other formats')
    parser.add_argument('--part', choices=['backbone', 'model'], default='model', help='what to export')
    parser.add_argument(
        '--format', choices=['onnx', 'torch_export', 'aot_inductor'], default='onnx', help='of the file'
    )
    parser.add_argument('--dtype', choices=['fp32', 'fp16'], default='fp32', help='precision (onnx)')
    parser.add_argument(
        '--int8', metavar='FOLDER', help='int8 convolutions, calibrated on the images of this folder (onnx)'
    )
    parser.add_argument('--photos', metavar='FOLDER', help='images to compare on; by default data/demo_photos')
    parser.add_argument('--trust-checkpoint', action='store_true', help='read a checkpoint that runs code of its own')
    parser.add_argument('--debug', action='store_true', help='show the traceback of a wrong setting')
    args = parser.parse_args()

    with user_errors('export.py', args.debug):
        from mmlska.export import export
        from mmlska.weights import use_safe_reader

        use_safe_reader(trust=args.trust_checkpoint)
        exported = export(
            load_config(args.config),
            args.checkpoint,
            args.out,
            part=args.part,
            format=args.format,
            dtype=args.dtype,
            int8=args.int8,
            photos=args.photos,
        )
    size = exported.path.stat().st_size / 1e6
    print(f'{exported.path}: {exported.kind}, {size:.1f} MB; {exported.parity.describe()}')
    if exported.note:
        print(exported.note)


if __name__ == '__main__':
    main()
