"""What several of these tests call."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# nbs: Ultralytics takes an optimizer step only every nbs / batch batches.
QUICK = dict(epochs=1, imgsz=64, batch=4, nbs=4, workers=0, device='cpu', optimizer='SGD', warmup_epochs=0)
QUICK.update(plots=False, verbose=False, amp=False)


def fresh(*args, cwd):
    """Run Python in a process of its own and return what it printed."""
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    result = subprocess.run(
        [sys.executable, *map(str, args)], capture_output=True, text=True, cwd=cwd, env=env, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
