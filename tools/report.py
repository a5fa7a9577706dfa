#!/usr/bin/env python
"""Write the report of a finished or stopped training again: tools/report.py work_dirs/RUN."""

from mmlska_command import run

if __name__ == '__main__':
    run('report')
