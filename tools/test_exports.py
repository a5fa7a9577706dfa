#!/usr/bin/env python
"""What exporting costs in AP or mIoU: tools/test_exports.py CONFIG CHECKPOINT --int8 FOLDER."""

from mmlska_command import run

if __name__ == '__main__':
    run('test-exports')
