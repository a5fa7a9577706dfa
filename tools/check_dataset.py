#!/usr/bin/env python
"""List what is wrong with a data set before training on it: tools/check_dataset.py DIR or CONFIG."""

from mmlska_command import run

if __name__ == '__main__':
    run('check')
