#!/usr/bin/env python
"""Write a trained model as one file: tools/export.py CONFIG CHECKPOINT --out model.onnx."""

from mmlska_command import run

if __name__ == '__main__':
    run('export')
