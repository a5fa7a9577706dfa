"""Tell what is installed, what works here, and how to fix the rest; exit status 1 if no model can be trained."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # a checkout where nothing is installed needs it most

from mmlska_command import run  # noqa: E402

sys.path.pop()  # what is looked at is what other programs would find

if __name__ == '__main__':
    run('doctor')
