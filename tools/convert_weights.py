#!/usr/bin/env python
"""Convert pretrained weights between the published layouts, or tell what a weight file is."""

from mmlska_command import run

if __name__ == '__main__':
    run('convert')
