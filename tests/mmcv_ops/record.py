"""Run the cases with compiled mmcv and keep the results: ``python tests/mmcv_ops/record.py``.

Run once with onedl-mmcv 2.3.6 and torch 2.13.0 on a CPU.
"""

from pathlib import Path

import numpy as np
from cases import CASES

from mmlska.mmcv_ops import in_use

VALUES = Path(__file__).with_name('compiled_mmcv.npz')

if __name__ == '__main__':
    if in_use():
        raise SystemExit('mmcv has no compiled operators here')
    np.savez_compressed(VALUES, **{f'{case.name}/{i}': t.numpy() for case in CASES for i, t in enumerate(case.run())})
    print(f'{len(CASES)} cases, {VALUES.stat().st_size} bytes')
