#!/usr/bin/env python
"""Speed and memory beside the published modules: tools/benchmark.py {op,backbone,model,busy}."""

from mmlska_command import run

if __name__ == '__main__':
    run('benchmark')
