#!/usr/bin/env python
"""Parameters and FLOPs: tools/complexity.py configs/*_van_lska_*.py, or tools/complexity.py --designs for backbones alone."""

from mmlska_command import run

if __name__ == '__main__':
    run('complexity')
