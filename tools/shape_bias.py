#!/usr/bin/env python
"""Shape against texture: tools/shape_bias.py CONFIG CHECKPOINT [CONFIG CHECKPOINT ...] --data data/scenes_conflict."""

from mmlska_command import run

if __name__ == '__main__':
    run('shape-bias')
