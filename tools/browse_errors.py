#!/usr/bin/env python
"""Look through a model's errors in a browser: tools/browse_errors.py CONFIG CHECKPOINT_OR_PKL --out errors."""

from mmlska_command import run

if __name__ == '__main__':
    run('browse-errors')
