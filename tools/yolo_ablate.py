#!/usr/bin/env python
"""Stock YOLO beside LSKA at four places, same data, seeds and epochs: tools/yolo_ablate.py data/fruits_nuts."""

from mmlska_command import run

if __name__ == '__main__':
    run('yolo-ablate')
