#!/usr/bin/env python
"""Attention maps and EigenCAM over a photo: tools/feature_maps.py CONFIG PHOTO --checkpoint FILE."""

from mmlska_command import run

if __name__ == '__main__':
    run('feature-maps')
