"""What the commands and scripts share. They need MMEngine: where it is missing, the error says what to install."""

from ..environment import require_mmengine

require_mmengine()
