#!/usr/bin/env python
"""Predict images, folders or videos: tools/predict.py PHOTOS --config CONFIG --checkpoint CHECKPOINT --out DIR."""

from mmlska_command import run

if __name__ == '__main__':
    run('predict')
