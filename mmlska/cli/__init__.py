"""What the command lines in tools/ share."""

from ..environment import require_mmengine

require_mmengine()
