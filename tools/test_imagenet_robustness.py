#!/usr/bin/env python
"""ImageNet-C, C-bar, -A, -R and -Sketch: tools/test_imagenet_robustness.py configs/van_lska_t_imagenet.py CHECKPOINT."""

from mmlska_command import run

if __name__ == '__main__':
    run('imagenet-robustness')
