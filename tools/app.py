#!/usr/bin/env python
"""Try trained models in the browser: tools/app.py, or tools/app.py --model NAME CONFIG CHECKPOINT."""

from mmlska_command import run

if __name__ == '__main__':
    run('app')
