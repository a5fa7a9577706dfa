"""Torch files and pickles of tensors, read without running anything.

``torch.load(weights_only=True)`` is not enough: its machine had holes of its own (CVE-2025-32434 before torch 2.6, CVE-2026-24747
before 2.10), what it allows is a list of the whole process that other libraries add to, and it allocates whatever a file of a few
bytes asks for.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import sys
import zipfile
from argparse import Namespace
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from ..environment import has_mmengine
from .pickle_machine import (
    MAX_STEPS,
    UNTYPED,
    Budget,
    Builders,
    Inert,
    Known,
    Machine,
    Refused,
    Storage,
    TooLarge,
    UnfinishedArray,
    UnfinishedDType,
    Unknown,
    checked_key,
    checked_size,
    typed,
)

if has_mmengine():
    from mmengine.logging import HistoryBuffer

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of torch.save before 1.6
_NUMBERS = '?bBhHiIlLqQefd'  # numpy's types that have a fixed size and no fields


def read_torch(file: BinaryIO, lookup: Callable[[str], Any] | None = None, *, outline: bool = False) -> Any:
    """Read what torch.save wrote; tensors are on the CPU.

    Args:
        file: The file, a zip archive or the format before torch 1.6, in memory; with ``outline`` it may be on the disk.
        lookup: What a name that the file asks for stands for: a :class:`Known` or a value; by default :func:`known`.
        outline: Do not read the values of tensors, which are on torch's meta device then. The older format is always read whole.

    Raises:
        Refused: If the file asks for something that is not known.
        TooLarge: If it is compressed, or would take far more memory than its size explains.
        Exception: If it is damaged, whatever the operation it is found by.
    """
    budget = Budget(file.seek(0, io.SEEK_END), MAX_STEPS)
    file.seek(0)
    zipped = file.read(2) == b'PK'
    file.seek(0)
    if zipped:
        return _read_zip(file, lookup or known, budget, outline)
    return _read_legacy(io.BytesIO(file.read()) if outline else file, lookup or known, budget)


def read_pickle(data: bytes, max_steps: int) -> Any:
    """Read a plain pickle of containers, numbers, arrays and tensors in so many steps at most; errors as for :func:`read_torch`."""
    budget = Budget(len(data), max_steps)

    def nested(content: bytes) -> Storage:  # a tensor's storage is a file of torch's older format inside the pickle
        return _read_legacy(io.BytesIO(typed(content, bytes)), known, budget)

    names = {'torch.storage._load_from_bytes': Known(nested)}
    return Machine(lambda name: names.get(name) or known(name), _BUILDERS, budget).load(io.BytesIO(data))


def known(name: str) -> Any:
    """What a name stands for in checkpoints of torch, MMEngine and timm's scripts.

    Raises:
        Refused: If it is none of theirs.
    """
    try:
        return _KNOWN[name]
    except KeyError:
        raise Refused(name) from None


def _read_zip(file: BinaryIO, lookup: Callable, budget: Budget, outline: bool) -> Any:
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise TooLarge('is compressed, which torch.save never does, and may unfold without limit')
        if len(entries) != len(archive.infolist()) or sum(entry.file_size for entry in entries.values()) > budget.size:
            raise TooLarge('has parts that lie over each other and unfold to more than the file')
        (root,) = [n.removesuffix('data.pkl') for n in entries if n.endswith('/data.pkl') and n.count('/') == 1]
        order = archive.read(root + 'byteorder').decode() if root + 'byteorder' in entries else 'little'
        if order != sys.byteorder:
            raise pickle.UnpicklingError(f'was written on a machine of {order} byte order')
        storages: dict[str, torch.UntypedStorage] = {}

        def storage(key: str | int, size: int) -> torch.UntypedStorage:
            entry = entries[f'{root}data/{key}']
            if entry.file_size != size:
                raise pickle.UnpicklingError(f'has {entry.file_size} bytes where a tensor needs {size}')
            if entry.filename not in storages:
                storages[entry.filename] = (
                    torch.UntypedStorage(size, device='meta') if outline else _memory(archive.read(entry))
                )
            return storages[entry.filename]

        return Machine(lookup, _BUILDERS, budget, storage).load(io.BytesIO(archive.read(root + 'data.pkl')))


def _memory(content: bytes) -> torch.UntypedStorage:
    if not content:
        return torch.UntypedStorage(0)
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).untyped_storage()


def _read_legacy(file: BinaryIO, lookup: Callable, budget: Budget) -> Any:
    """The format before torch 1.6: five pickles, then the storages in the order of the last one."""
    storages: dict[str | int, torch.UntypedStorage] = {}
    left = budget.size

    def storage(key: str | int, size: int) -> torch.UntypedStorage:
        nonlocal left
        if key not in storages:
            left -= size
            if left < 0:
                raise pickle.UnpicklingError(f'promises {size} bytes that it does not have')
            storages[key] = torch.UntypedStorage(size)
        return storages[key]

    magic, protocol, system = (Machine(lookup, _BUILDERS, budget).load(file) for _ in range(3))
    if (magic, protocol) != (_MAGIC, _PROTOCOL):
        raise pickle.UnpicklingError('does not begin as a file of torch')
    if not system.get('little_endian') or sys.byteorder != 'little':
        raise pickle.UnpicklingError('was written on a machine of another byte order')
    content = Machine(lookup, _BUILDERS, budget, storage).load(file)
    keys = [typed(key, str, int) for key in typed(Machine(lookup, _BUILDERS, budget).load(file), list)]
    if len(keys) != len(storages) or set(keys) != set(storages):
        raise pickle.UnpicklingError('lacks the content of tensors')
    for key in keys:
        (numel,) = struct.unpack('<q', file.read(8))
        size = storages[key].nbytes()
        part = file.read(size)
        if len(part) != size or (numel == 0) != (size == 0):
            raise EOFError('ends within a tensor')
        storages[key].copy_(_memory(part))
    return content


def _tensor(storage: Storage, offset: int, size: tuple, stride: tuple, *rest: Any, dtype: torch.dtype | None = None):
    """torch's rebuilding of a tensor, which may not reach beyond its storage."""
    dtype = dtype or typed(storage, Storage).dtype
    size, stride = ([checked_size(n) for n in typed(item, tuple, torch.Size)] for item in (size, stride))
    numel = math.prod(size)
    end = checked_size(offset) + (sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1 if numel else 0)
    if end * dtype.itemsize > storage.content.nbytes():
        raise pickle.UnpicklingError('has a tensor that reaches beyond its content')
    tensor = torch.empty(0, dtype=dtype, device=storage.content.device).set_(storage.content, offset, size, stride)
    if rest[2:] and rest[2]:
        raise Unknown('has a tensor with metadata, such as a conjugated one')
    return tensor.requires_grad_() if rest and rest[0] is True else tensor


def _tensor_v3(storage: Storage, offset: int, size: tuple, stride: tuple, grad: bool, hooks: Any, dtype: Any, *rest):
    return _tensor(storage, offset, size, stride, grad, hooks, *rest, dtype=typed(dtype, torch.dtype))


def _parameter(data: Tensor, requires_grad: bool, *_: Any) -> nn.Parameter:
    return nn.Parameter(typed(data, Tensor), requires_grad=requires_grad is True)


def _with_attributes(function: Known, kind: Any, arguments: tuple, state: Any) -> Tensor:
    """A tensor that had attributes, which are left out."""
    return typed(function.call(*typed(arguments, tuple)), Tensor, nn.Parameter)


def _build_array(_: UnfinishedArray | None, state: tuple) -> np.ndarray:
    _version, shape, dtype, fortran, content = typed(state, tuple)
    if not isinstance(dtype, np.dtype):
        raise Refused(f'an array of numpy of {type(dtype).__name__}')
    shape = [checked_size(n) for n in typed(shape, tuple)]
    if math.prod(shape) * dtype.itemsize != len(typed(content, bytes, bytearray)):
        raise pickle.UnpicklingError('has an array that is larger or smaller than its content')
    return np.frombuffer(content, dtype).reshape(shape, order='F' if fortran is True else 'C').copy('K')


def _from_buffer(content: bytes | bytearray, dtype: np.dtype, shape: tuple, order: str) -> np.ndarray:
    """How protocol 5 writes arrays."""
    if typed(order, str) not in ('C', 'F'):
        raise Unknown(f'has an array of numpy in the order {order[:20]!r}')
    return _build_array(None, (1, shape, dtype, order == 'F', content))


def _build_dtype(value: UnfinishedDType, state: tuple) -> np.dtype:
    dtype = np.dtype(typed(value.code, str))
    _version, order, *rest = typed(state, tuple)
    if dtype.char not in _NUMBERS or order not in ('<', '>', '|', '=') or rest[:3] != [None] * 3 or rest[5:6] != [0]:
        raise Refused(f'numpy.dtype({value.code!r})')
    return dtype.newbyteorder(order)


def _scalar(dtype: np.dtype, content: bytes) -> np.generic:
    if not isinstance(dtype, np.dtype) or dtype.itemsize != len(typed(content, bytes)):
        raise pickle.UnpicklingError('has a number of numpy that is damaged')
    return np.frombuffer(content, dtype)[0]


def _bytes(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes."""
    if encoding != 'latin1':
        raise Refused(f'_codecs.encode({encoding!r})')
    return typed(text, str).encode('latin1')


def _ordered(items: list = ()) -> OrderedDict:
    return OrderedDict((checked_key(key), value) for key, value in items)


def _statistic(owner: Any, name: str) -> None:
    """HistoryBuffer pickles its statistics as getattr(HistoryBuffer, name); it has them without that."""
    if owner is not _KNOWN[_HISTORY] or name not in _STATISTICS:
        raise Refused('builtins.getattr')


def _build_history(history: HistoryBuffer, state: dict) -> HistoryBuffer:
    logs, counts = (np.asarray(typed(state[f'_{part}_history'], np.ndarray)) for part in ('log', 'count'))
    history.__dict__.update(_log_history=logs, _count_history=counts, max_length=checked_size(state['max_length']))
    return history


def _build_attributes(value: Namespace | OrderedDict, state: dict) -> Namespace | OrderedDict:
    value.__dict__.update({typed(name, str): item for name, item in typed(state, dict).items()})
    return value


def _build_inert(value: Inert, state: Any) -> Inert:
    value.state = state[0] if type(state) is tuple and state and type(state[0]) is dict else state
    return value


def inert(name: str) -> Known:
    """A name that may stand in a file and does nothing."""
    return Known(lambda *_: Inert(name), lambda *_: Inert(name))


_BUILDERS: Builders = {
    UnfinishedArray: _build_array,
    UnfinishedDType: _build_dtype,
    Namespace: _build_attributes,
    OrderedDict: _build_attributes,
    Inert: _build_inert,
}
_HISTORY = 'mmengine.logging.history_buffer.HistoryBuffer'
_STATISTICS = ('min', 'max', 'current', 'mean')
_STORAGES = dict(
    Float='float32', Double='float64', Half='float16', BFloat16='bfloat16', Long='int64', Int='int32', Short='int16'
)
_STORAGES |= dict(Char='int8', Byte='uint8', Bool='bool', ComplexFloat='complex64', ComplexDouble='complex128')
_KNOWN: dict[str, Any] = {
    'collections.OrderedDict': Known(_ordered, OrderedDict),
    'collections.Counter': Known(lambda items=(): Counter(typed(items, dict))),
    'builtins.set': Known(lambda items=(): set(map(checked_key, typed(items, list)))),
    'builtins.frozenset': Known(lambda items=(): frozenset(map(checked_key, typed(items, list)))),
    'builtins.complex': Known(lambda real, imaginary: complex(typed(real, float), typed(imaginary, float))),
    'builtins.bytes': Known(lambda: b''),
    'builtins.getattr': Known(_statistic),
    '_codecs.encode': Known(_bytes),
    'argparse.Namespace': Known(Namespace, Namespace),
    _HISTORY: inert(_HISTORY),
    **dict.fromkeys(f'{_HISTORY}.{name}' for name in _STATISTICS),  # how protocol 4 names them
    'numpy.ndarray': Known(),
    'numpy.dtype': Known(lambda code, *_: UnfinishedDType(code)),
    'torch.Size': Known(lambda sizes: torch.Size(checked_size(n) for n in typed(sizes, tuple))),
    'torch.device': Known(lambda kind, *index: torch.device(typed(kind, str), *index)),
    'torch.Tensor': Known(),
    'torch.nn.parameter.Parameter': Known(),
    'torch.storage.UntypedStorage': UNTYPED,
    'torch._utils._rebuild_tensor': Known(_tensor),
    'torch._utils._rebuild_tensor_v2': Known(_tensor),
    'torch._utils._rebuild_tensor_v3': Known(_tensor_v3),
    'torch._utils._rebuild_parameter': Known(_parameter),
    'torch._utils._rebuild_parameter_with_state': Known(_parameter),
    'torch._tensor._rebuild_from_type_v2': Known(_with_attributes),
    **{f'torch.{name}Storage': getattr(torch, dtype) for name, dtype in _STORAGES.items()},
    **{str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)},
}
if has_mmengine():
    _BUILDERS[HistoryBuffer] = _build_history
    _KNOWN[_HISTORY] = Known(new=lambda: HistoryBuffer())
for _module in ('numpy.core', 'numpy._core'):  # before and since numpy 2
    _KNOWN[f'{_module}.multiarray._reconstruct'] = Known(lambda *_: UnfinishedArray())
    _KNOWN[f'{_module}.multiarray.scalar'] = Known(_scalar)
    _KNOWN[f'{_module}.numeric._frombuffer'] = Known(_from_buffer)
