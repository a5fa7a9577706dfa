#!/usr/bin/env python
"""Effective receptive fields: tools/erf.py CONFIG --k-sizes 7 23 53 --attentions lska lka."""

from mmlska_command import run

if __name__ == '__main__':
    run('erf')
