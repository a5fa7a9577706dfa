#!/usr/bin/env python
"""Detectors and segmentors under corruptions: tools/test_robustness.py CONFIG CHECKPOINT --corruptions all."""

from mmlska_command import run

if __name__ == '__main__':
    run('robustness')
