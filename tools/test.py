#!/usr/bin/env python
"""Evaluate a checkpoint, box and mask AP, mIoU or accuracy: tools/test.py configs/mask_rcnn_van_lska_t.py CHECKPOINT."""

from mmlska_command import run

if __name__ == '__main__':
    run('test')
