"""What an error of Triton says: of one kernel, of the whole installation, or of neither."""

from __future__ import annotations

import errno
import subprocess


def is_refusal(error: Exception) -> bool:
    """Tell whether an error is the compiler's, or says that the kernel takes more than the GPU has, for these inputs."""
    # By name: not every version of Triton has each of these classes.
    names = {c.__name__ for c in type(error).__mro__ if c.__module__.split('.')[0] == 'triton'}
    if names & {'OutOfResources', 'CompilationError', 'PTXASError'}:
        return True
    parts = 'PassManager::run failed', 'failed to translate module to LLVM IR', 'PTX codegen error', '`ptxas` failed'
    return isinstance(error, RuntimeError) and any(part in str(error) for part in parts)


def lost_a_race(error: Exception) -> bool:
    """Tell whether another process has moved a file of the cache that all processes of a user share; the second try finds its result."""
    return isinstance(error, FileNotFoundError) and any(part in str(error) for part in ('.triton', 'tmp.pid'))


def fix_of(error: Exception) -> str | None:
    """The next step where Triton can run nothing at all in this installation; None if an error does not say so."""
    text, number = str(error), getattr(error, 'errno', None)
    if isinstance(error, ImportError) or any(part in text for part in ('Cannot find ptxas', 'active drivers')):
        return 'a triton made for this torch fixes that: `pip install -U triton`'
    if isinstance(error, OSError) and 'ptxas' in text:
        return '`pip install --force-reinstall triton` brings ptxas'
    if number in (errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT):
        return 'set TRITON_CACHE_DIR to a folder that has room and can be written'
    if isinstance(error, (subprocess.CalledProcessError, FileNotFoundError)) or 'Failed to find C compiler' in text:
        return 'Triton needs a C compiler and Python headers: `apt install gcc python3-dev` or the like'
    return None
