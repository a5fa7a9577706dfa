"""The commands of `mmlska`, one module each: ``make_parser`` has its options, ``main`` runs it on ``sys.argv``.

The tools in tools/ are these too; both begin in ``mmlska_command.run``.
"""

from .. import cli  # noqa: F401, where MMEngine is missing, this says what to install before another import fails
