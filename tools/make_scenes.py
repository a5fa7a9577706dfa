#!/usr/bin/env python
"""Write generated scenes: shapes with exact masks, in COCO format and ADE20K layout."""

from mmlska_command import run

if __name__ == '__main__':
    run('make-scenes')
