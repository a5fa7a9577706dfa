#!/usr/bin/env python
"""Draw loss, learning rate and metrics of one or several runs: tools/plot_logs.py work_dirs/A work_dirs/B --out curves.png."""

from mmlska_command import run

if __name__ == '__main__':
    run('plot-logs')
