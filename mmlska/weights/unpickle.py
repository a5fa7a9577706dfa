"""Torch files and pickles, read without running anything: a small pickle machine that knows tensors, numbers and containers.

``torch.load(weights_only=True)`` is not enough: its machine had holes of its own (CVE-2025-32434 before torch 2.6, CVE-2026-24747
before 2.10), what it allows is a list of the whole process that other libraries add to, and it allocates whatever a file of a few
bytes asks for. Here nothing that a file names is imported or called, and no more memory is taken than the size of the file explains.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import struct
import sys
import zipfile
from argparse import Namespace
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor, nn

#: The tensors of a file may take so many times its size, as several may share memory, and small ones SMALL bytes in any case.
UNFOLDS = 4
#: The same of lists, dicts and what the pickle keeps to refer to, which a single byte of it may ask for.
UNFOLDS_OBJECTS = 32
SMALL = 64 * 2**20
#: Steps of the pickle of a checkpoint; each may leave an object of some 100 bytes. One of 1,000 tensors with its optimizer has 100,000.
MAX_STEPS = 2_000_000

_CONTAINER_BYTES, _MEMO_BYTES = 64, 100  # of an empty list or an item of a set; of an entry in the memo, at most
_TOO_LARGE = 1 << 63
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of torch.save before 1.6
_NUMBERS = '?bBhHiIlLqQefd'  # numpy's types that have a fixed size and no fields


class Refused(pickle.UnpicklingError):
    """A file asks for a function or class that is not known here; ``name`` is the first one."""

    def __init__(self, name: str) -> None:
        super().__init__(f'asks for {name}')
        self.name = name


class TooLarge(pickle.UnpicklingError):
    """A file would take far more memory than its size explains."""


@dataclass(frozen=True, eq=False)
class Known:
    """What stands for a function or class: what is done where the file calls it, or makes an object of it."""

    call: Callable | None = None
    new: Callable | None = None


@dataclass(eq=False)
class Inert:
    """An object of a class that is not made here: what the file says about it."""

    name: str
    arguments: tuple = ()
    state: Any = field(default_factory=dict)


@dataclass(eq=False)
class _Storage:
    content: torch.UntypedStorage
    dtype: torch.dtype


class _Array:
    """An array of numpy before its content is known."""


@dataclass(eq=False)
class _DType:
    """A type of numpy before its byte order is known."""

    code: Any


class _Budget:
    """Counts what a file makes and stops where its size does not explain it."""

    def __init__(self, size: int, max_steps: int) -> None:
        self.size, self.steps, self.max_steps = size, 0, max_steps
        self.bytes, self.max_bytes = 0, max(UNFOLDS * size, SMALL)
        self.object_bytes, self.max_object_bytes = 0, max(UNFOLDS_OBJECTS * size, SMALL)

    def step(self) -> None:
        self.steps += 1
        if self.steps > self.max_steps:
            raise TooLarge(f'has more than the {self.max_steps:,} objects that are read')

    def take(self, value: Any) -> None:
        """Count the content of what a call has made."""
        self.bytes += _size_of(value)
        if self.bytes > self.max_bytes:
            raise TooLarge(
                f'unfolds to more than {self.max_bytes / 2**20:,.0f} MiB of tensors, far more than the file itself'
            )

    def keep(self, number: int) -> None:
        """Count an object of so many bytes."""
        self.object_bytes += number
        if self.object_bytes > self.max_object_bytes:
            raise TooLarge(f'unfolds to more than {self.max_object_bytes / 2**20:,.0f} MiB of lists and dicts')


def _size_of(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, (np.ndarray, np.generic)):
        return value.nbytes
    if isinstance(value, _Storage):
        return value.content.nbytes()
    if isinstance(value, (bytes, str)):
        return len(value)
    return _CONTAINER_BYTES * len(value) if isinstance(value, (set, frozenset, dict, tuple)) else 0


def read_torch(
    file: BinaryIO, lookup: Callable[[str], Any] | None = None, *, outline: bool = False, max_steps: int = MAX_STEPS
) -> Any:
    """Read what torch.save wrote; tensors are on the CPU.

    Args:
        file: The file, a zip archive or the format before torch 1.6, in memory; with ``outline`` it may be on the disk.
        lookup: What a name that the file asks for stands for: a :class:`Known` or a value; by default :func:`known`.
        outline: Do not read the values of tensors, which are on torch's meta device then. The older format is always read whole.
        max_steps: Of the pickle.

    Raises:
        Refused: If the file asks for something that is not known.
        TooLarge: If it is compressed, or would take far more memory than its size explains.
        Exception: If it is damaged, whatever the operation it is found by.
    """
    budget = _Budget(file.seek(0, io.SEEK_END), max_steps)
    file.seek(0)
    zipped = file.read(2) == b'PK'
    file.seek(0)
    if zipped:
        return _read_zip(file, lookup or known, budget, outline)
    return _read_legacy(io.BytesIO(file.read()) if outline else file, lookup or known, budget)


def read_pickle(data: bytes, max_steps: int) -> Any:
    """Read a plain pickle of containers, numbers, arrays and tensors; arguments and errors as for :func:`read_torch`."""
    budget = _Budget(len(data), max_steps)

    def nested(content: bytes) -> _Storage:  # a tensor's storage is a file of torch's older format inside the pickle
        return _read_legacy(io.BytesIO(_typed(content, bytes)), known, budget)

    names = {'torch.storage._load_from_bytes': Known(nested)}
    return _Machine(lambda name: names.get(name) or known(name), budget).load(io.BytesIO(data))


def known(name: str) -> Any:
    """What a name stands for in checkpoints of torch, MMEngine and timm's scripts.

    Raises:
        Refused: If it is none of theirs.
    """
    try:
        return _KNOWN[name]
    except KeyError:
        raise Refused(name) from None


class _Machine:
    """Carries out the opcodes of one pickle. Nothing but a :class:`Known` is ever called."""

    def __init__(self, lookup: Callable[[str], Any], budget: _Budget, storage: Callable | None = None) -> None:
        self._lookup, self._budget, self._storage = lookup, budget, storage
        self._stack: list = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._unfinished: dict[int, list[int]] = {}  # places in the memo of what BUILD replaces, by identity

    def load(self, file: BinaryIO) -> Any:
        """Read one pickle from where the file is."""
        for opcode, argument, _ in pickletools.genops(file):
            self._budget.step()
            name = opcode.name
            if name in _PUSHES:
                self._stack.append(argument)
            elif name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name])
            elif name in _EMPTY:
                self._budget.keep(_CONTAINER_BYTES)
                self._stack.append(_EMPTY[name]())
            elif name in _STEPS:
                _STEPS[name](self, argument)
            elif name != 'STOP':
                raise pickle.UnpicklingError(f'opcode {name} is not used by torch.save')
        return self._stack.pop()

    def _nothing(self, _) -> None:
        pass

    def _mark(self, _) -> None:
        self._marks.append(len(self._stack))

    def _to_mark(self) -> list:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _last(self, number: int) -> list:
        items = self._stack[-number:]
        if len(items) < number:
            raise pickle.UnpicklingError('the pickle takes more than it has')
        del self._stack[-number:]
        return items

    def _append(self, _) -> None:
        item = self._stack.pop()
        _typed(self._stack[-1], list).append(item)

    def _appends(self, _) -> None:
        items = self._to_mark()
        _typed(self._stack[-1], list).extend(items)

    def _add(self, _) -> None:
        items = self._to_mark()
        _typed(self._stack[-1], set).update(map(_key, items))

    def _set_item(self, _) -> None:
        key, value = self._last(2)
        _typed(self._stack[-1], dict, OrderedDict, Counter)[_key(key)] = value

    def _set_items(self, _) -> None:
        items = self._to_mark()
        target = _typed(self._stack[-1], dict, OrderedDict, Counter)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    def _tuple(self, _) -> None:
        self._stack.append(tuple(self._to_mark()))

    def _put(self, place: int) -> None:
        self._budget.keep(_MEMO_BYTES)
        value = self._memo[place] = self._stack[-1]
        if isinstance(value, (_Array, _DType)):
            self._unfinished.setdefault(id(value), []).append(place)

    def _get(self, place: int) -> None:
        self._stack.append(self._memo[place])

    def _global(self, names: str) -> None:
        self._stack.append(self._lookup(_modern(*names.split(' ', 1))))

    def _stack_global(self, _) -> None:
        module, name = self._last(2)
        self._stack.append(self._lookup(_modern(_typed(module, str), _typed(name, str))))

    def _new(self, _) -> None:
        made, arguments = self._last(2)
        if not isinstance(made, Known) or made.new is None:
            raise pickle.UnpicklingError(f'makes an object of {type(made).__name__}')
        self._stack.append(made.new(*_typed(arguments, tuple)))

    def _reduce(self, _) -> None:
        function, arguments = self._last(2)
        if not isinstance(function, Known) or function.call is None:
            raise pickle.UnpicklingError(f'calls {type(function).__name__}')
        result = function.call(*_typed(arguments, tuple))
        self._budget.take(result)
        self._stack.append(result)

    def _build(self, _) -> None:
        state = self._stack.pop()
        value = self._stack[-1]
        builder = _BUILDERS.get(type(value))
        if builder is None:
            raise pickle.UnpicklingError(f'sets the state of {type(value).__name__}')
        built = self._stack[-1] = builder(value, state)
        if built is not value:
            self._budget.take(built)
            for place in self._unfinished.pop(id(value), ()):
                self._memo[place] = built

    def _persistent(self, _) -> None:
        identity = _typed(self._stack.pop(), tuple)
        if len(identity) == 4 and isinstance(
            identity[1], Known
        ):  # the older format keeps the source of modules beside their class
            self._stack.append(identity[1])
            return
        kind, storage_type, key, _location, numel = identity[:5]
        if kind != 'storage' or self._storage is None or identity[5:] not in ((), (None,)):
            raise pickle.UnpicklingError('refers to something that is no storage of a tensor')
        dtype = torch.uint8 if storage_type is _UNTYPED else _typed(storage_type, torch.dtype)
        content = self._storage(_typed(key, str, int), _count(numel) * dtype.itemsize)
        self._stack.append(_Storage(content, dtype))


_PUSHES = {
    *('BININT', 'BININT1', 'BININT2', 'LONG1', 'LONG4', 'BINFLOAT'),
    *('BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8', 'BINSTRING', 'SHORT_BINSTRING'),
    *('BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8'),
}
_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False, 'EMPTY_TUPLE': ()}
_EMPTY = {'EMPTY_LIST': list, 'EMPTY_DICT': dict, 'EMPTY_SET': set}
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    'PROTO': _Machine._nothing,
    'FRAME': _Machine._nothing,
    'MARK': _Machine._mark,
    'APPEND': _Machine._append,
    'APPENDS': _Machine._appends,
    'ADDITEMS': _Machine._add,
    'SETITEM': _Machine._set_item,
    'SETITEMS': _Machine._set_items,
    'TUPLE': _Machine._tuple,
    **{f'TUPLE{n}': lambda machine, _, n=n: machine._stack.append(tuple(machine._last(n))) for n in (1, 2, 3)},
    'BINPUT': _Machine._put,
    'LONG_BINPUT': _Machine._put,
    'MEMOIZE': lambda machine, _: machine._put(len(machine._memo)),
    'BINGET': _Machine._get,
    'LONG_BINGET': _Machine._get,
    'GLOBAL': _Machine._global,
    'STACK_GLOBAL': _Machine._stack_global,
    'NEWOBJ': _Machine._new,
    'REDUCE': _Machine._reduce,
    'BUILD': _Machine._build,
    'BINPERSID': _Machine._persistent,
}


def _modern(module: str, name: str) -> str:
    """A name of Python 2 or 3, which pickles of protocol 2 have, in Python 3."""
    return f'{dict(__builtin__="builtins", copy_reg="copyreg").get(module, module)}.{name}'


def _typed(value: Any, *types: type) -> Any:
    """The value, if its type is exactly one of these."""
    if type(value) not in types:
        raise pickle.UnpicklingError(f'has {type(value).__name__} where {types[0].__name__} should be')
    return value


def _key(value: Any) -> Any:
    """The value, if it may be a key: Python hashes tuples in tuples until its stack ends."""
    for item in value if type(value) is tuple else (value,):
        # Numbers without end can be chosen to fall into one place of a dict, which is then slow.
        if (
            type(_typed(item, str, int, float, bool, bytes, type(None), torch.dtype, torch.device)) is int
            and abs(item) >= _TOO_LARGE
        ):
            raise pickle.UnpicklingError('has a key of more than 63 bits')
    return value


def _count(value: Any) -> int:
    if not 0 <= _typed(value, int) < _TOO_LARGE:
        raise pickle.UnpicklingError('has a size that no tensor can have')
    return value


def _read_zip(file: BinaryIO, lookup: Callable, budget: _Budget, outline: bool) -> Any:
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

        return _Machine(lookup, budget, storage).load(io.BytesIO(archive.read(root + 'data.pkl')))


def _memory(content: bytes) -> torch.UntypedStorage:
    if not content:
        return torch.UntypedStorage(0)
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).untyped_storage()


def _read_legacy(file: BinaryIO, lookup: Callable, budget: _Budget) -> Any:
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

    magic, protocol, system = (_Machine(lookup, budget).load(file) for _ in range(3))
    if (magic, protocol) != (_MAGIC, _PROTOCOL):
        raise pickle.UnpicklingError('does not begin as a file of torch')
    if not system.get('little_endian') or sys.byteorder != 'little':
        raise pickle.UnpicklingError('was written on a machine of another byte order')
    content = _Machine(lookup, budget, storage).load(file)
    keys = [_typed(key, str, int) for key in _typed(_Machine(lookup, budget).load(file), list)]
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


def _tensor(storage: _Storage, offset: int, size: tuple, stride: tuple, *rest: Any, dtype: torch.dtype | None = None):
    """torch's rebuilding of a tensor, which may not reach beyond its storage."""
    dtype = dtype or _typed(storage, _Storage).dtype
    size, stride = ([_count(n) for n in _typed(item, tuple, torch.Size)] for item in (size, stride))
    numel = math.prod(size)
    end = _count(offset) + (sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1 if numel else 0)
    if end * dtype.itemsize > storage.content.nbytes():
        raise pickle.UnpicklingError('has a tensor that reaches beyond its content')
    tensor = torch.empty(0, dtype=dtype, device=storage.content.device).set_(storage.content, offset, size, stride)
    if rest[2:] and rest[2]:
        raise pickle.UnpicklingError('has a tensor in a form that is not known')
    return tensor.requires_grad_() if rest and rest[0] is True else tensor


def _tensor_v3(storage: _Storage, offset: int, size: tuple, stride: tuple, grad: bool, hooks: Any, dtype: Any, *rest):
    return _tensor(storage, offset, size, stride, grad, hooks, *rest, dtype=_typed(dtype, torch.dtype))


def _parameter(data: Tensor, requires_grad: bool, *_: Any) -> nn.Parameter:
    return nn.Parameter(_typed(data, Tensor), requires_grad=requires_grad is True)


def _with_attributes(function: Known, kind: Any, arguments: tuple, state: Any) -> Tensor:
    """A tensor that had attributes, which are left out."""
    return _typed(function.call(*_typed(arguments, tuple)), Tensor, nn.Parameter)


def _build_array(_: _Array, state: tuple) -> np.ndarray:
    _version, shape, dtype, fortran, content = _typed(state, tuple)
    if not isinstance(dtype, np.dtype):
        raise Refused(f'an array of numpy of {type(dtype).__name__}')
    shape = [_count(n) for n in _typed(shape, tuple)]
    if math.prod(shape) * dtype.itemsize != len(_typed(content, bytes)):
        raise pickle.UnpicklingError('has an array that is larger or smaller than its content')
    return np.frombuffer(content, dtype).reshape(shape, order='F' if fortran is True else 'C').copy('K')


def _build_dtype(value: _DType, state: tuple) -> np.dtype:
    dtype = np.dtype(_typed(value.code, str))
    _version, order, *rest = _typed(state, tuple)
    if dtype.char not in _NUMBERS or order not in ('<', '>', '|', '=') or rest[:3] != [None] * 3 or rest[5:6] != [0]:
        raise Refused(f'numpy.dtype({value.code!r})')
    return dtype.newbyteorder(order)


def _scalar(dtype: np.dtype, content: bytes) -> np.generic:
    if not isinstance(dtype, np.dtype) or dtype.itemsize != len(_typed(content, bytes)):
        raise pickle.UnpicklingError('has a number of numpy that is damaged')
    return np.frombuffer(content, dtype)[0]


def _bytes(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes."""
    if encoding != 'latin1':
        raise Refused(f'_codecs.encode({encoding!r})')
    return _typed(text, str).encode('latin1')


def _ordered(items: list = ()) -> OrderedDict:
    return OrderedDict((_key(key), value) for key, value in items)


def _statistic(owner: Any, name: str) -> None:
    """HistoryBuffer pickles its statistics as getattr(HistoryBuffer, name); it has them without that."""
    if owner is not _KNOWN[_HISTORY] or name not in _STATISTICS:
        raise Refused('builtins.getattr')


def _build_history(history: HistoryBuffer, state: dict) -> HistoryBuffer:
    logs, counts = (np.asarray(_typed(state[f'_{part}_history'], np.ndarray)) for part in ('log', 'count'))
    history.__dict__.update(_log_history=logs, _count_history=counts, max_length=_count(state['max_length']))
    return history


def _build_attributes(value: Namespace | OrderedDict, state: dict) -> Namespace | OrderedDict:
    value.__dict__.update({_typed(name, str): item for name, item in _typed(state, dict).items()})
    return value


def _build_inert(value: Inert, state: Any) -> Inert:
    value.state = state[0] if type(state) is tuple and state and type(state[0]) is dict else state
    return value


def inert(name: str) -> Known:
    """A name that may stand in a file and does nothing."""
    return Known(lambda *arguments: Inert(name, arguments), lambda *arguments: Inert(name, arguments))


_BUILDERS: dict[type, Callable] = {
    _Array: _build_array,
    _DType: _build_dtype,
    HistoryBuffer: _build_history,
    Namespace: _build_attributes,
    OrderedDict: _build_attributes,
    Inert: _build_inert,
}
_HISTORY = 'mmengine.logging.history_buffer.HistoryBuffer'
_STATISTICS = ('min', 'max', 'current', 'mean')
_UNTYPED = object()
_STORAGES = dict(
    Float='float32', Double='float64', Half='float16', BFloat16='bfloat16', Long='int64', Int='int32', Short='int16'
)
_STORAGES |= dict(Char='int8', Byte='uint8', Bool='bool', ComplexFloat='complex64', ComplexDouble='complex128')
_KNOWN: dict[str, Any] = {
    'collections.OrderedDict': Known(_ordered, OrderedDict),
    'collections.Counter': Known(lambda items=(): Counter(_typed(items, dict))),
    'builtins.set': Known(lambda items=(): set(map(_key, _typed(items, list)))),
    'builtins.frozenset': Known(lambda items=(): frozenset(map(_key, _typed(items, list)))),
    'builtins.complex': Known(lambda real, imaginary: complex(_typed(real, float), _typed(imaginary, float))),
    'builtins.bytes': Known(lambda: b''),
    'builtins.getattr': Known(_statistic),
    '_codecs.encode': Known(_bytes),
    'argparse.Namespace': Known(Namespace, Namespace),
    _HISTORY: Known(new=lambda: HistoryBuffer()),
    **dict.fromkeys(f'{_HISTORY}.{name}' for name in _STATISTICS),  # how protocol 4 names them
    'numpy.ndarray': Known(),
    'numpy.dtype': Known(lambda code, *_: _DType(code)),
    'torch.Size': Known(lambda sizes: torch.Size(_count(n) for n in _typed(sizes, tuple))),
    'torch.device': Known(lambda kind, *index: torch.device(_typed(kind, str), *index)),
    'torch.Tensor': Known(),
    'torch.nn.parameter.Parameter': Known(),
    'torch.storage.UntypedStorage': _UNTYPED,
    'torch._utils._rebuild_tensor': Known(_tensor),
    'torch._utils._rebuild_tensor_v2': Known(_tensor),
    'torch._utils._rebuild_tensor_v3': Known(_tensor_v3),
    'torch._utils._rebuild_parameter': Known(_parameter),
    'torch._utils._rebuild_parameter_with_state': Known(_parameter),
    'torch._tensor._rebuild_from_type_v2': Known(_with_attributes),
    **{f'torch.{name}Storage': getattr(torch, dtype) for name, dtype in _STORAGES.items()},
    **{str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)},
}
for _module in ('numpy.core.multiarray', 'numpy._core.multiarray'):  # before and since numpy 2
    _KNOWN[f'{_module}._reconstruct'] = Known(lambda *_: _Array())
    _KNOWN[f'{_module}.scalar'] = Known(_scalar)
