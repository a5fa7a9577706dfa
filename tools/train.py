#!/usr/bin/env python
"""Train a detector, segmentor or classifier: tools/train.py configs/mask_rcnn_van_lska_t.py."""

from mmlska_command import run

if __name__ == '__main__':
    run('train')
