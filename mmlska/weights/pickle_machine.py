"""A small pickle machine that knows numbers, text and containers, and runs nothing.

What a name in a pickle stands for is for its user to say, see :mod:`mmlska.weights.torch_file`: nothing that a file names is imported,
and nothing is called but what is :class:`Known`. No more memory is taken than the size of the file explains.
"""

from __future__ import annotations

import pickle
import pickletools
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

#: The tensors of a file may take so many times its size, as several may share memory, and small ones SMALL bytes in any case.
UNFOLDS = 4
#: The same of lists, dicts and what the pickle keeps to refer to, which a single byte of it may ask for.
UNFOLDS_OBJECTS = 32
SMALL = 64 * 2**20
#: Steps of the pickle of a checkpoint; each may leave an object of some 100 bytes. One of 1,000 tensors with its optimizer has 100,000.
MAX_STEPS = 2_000_000

_CONTAINER_BYTES, _MEMO_BYTES = 64, 100  # of an empty list or an item of a set; of an entry in the memo, at most
_TOO_LARGE = 1 << 63

#: What sets the state of an object, by its type; it returns the object, or another one in its place.
Builders = dict[type, Callable[[Any, Any], Any]]
#: Stands for the storage of a tensor whose type the tensor itself gives.
UNTYPED = object()


class Refused(pickle.UnpicklingError):
    """A file asks for a function or class that is not known here; ``name`` is the first one."""

    def __init__(self, name: str) -> None:
        super().__init__(f'asks for {name}')
        self.name = name


class Unknown(pickle.UnpicklingError):
    """A file is whole, but has something in a form that is not known here."""


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
    state: Any = field(default_factory=dict)


@dataclass(eq=False)
class Storage:
    """The memory of a tensor."""

    content: torch.UntypedStorage
    dtype: torch.dtype


class UnfinishedArray:
    """An array of numpy before its content is known."""


@dataclass(eq=False)
class UnfinishedDType:
    """A type of numpy before its byte order is known."""

    code: Any


class Budget:
    """Counts what a file makes and stops where its size does not explain it."""

    def __init__(self, size: int, max_steps: int) -> None:
        self.size, self.steps, self.max_steps = size, 0, max_steps
        self.bytes, self.max_bytes = 0, max(UNFOLDS * size, SMALL)
        self.object_bytes, self.max_object_bytes = 0, max(UNFOLDS_OBJECTS * size, SMALL)

    def step(self) -> None:
        """Count an opcode."""
        self.steps += 1
        if self.steps > self.max_steps:
            raise TooLarge(f'has more than the {self.max_steps:,} objects that are read')

    def take(self, value: Any) -> None:
        """Count the content of what a call has made."""
        self.bytes += _size_of(value)
        if self.bytes > self.max_bytes:
            most = f'{self.max_bytes / 2**20:,.0f} MiB of tensors'
            raise TooLarge(f'unfolds to more than {most}, far more than the file itself')

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
    if isinstance(value, Storage):
        return value.content.nbytes()
    if isinstance(value, (bytes, str)):
        return len(value)
    return _CONTAINER_BYTES * len(value) if isinstance(value, (set, frozenset, dict, tuple)) else 0


class Machine:
    """Carries out the opcodes of one pickle. Nothing but a :class:`Known` is ever called."""

    def __init__(
        self, lookup: Callable[[str], Any], builders: Builders, budget: Budget, storage: Callable | None = None
    ) -> None:
        self._lookup, self._builders, self._budget, self._storage = lookup, builders, budget, storage
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
            elif name not in ('PROTO', 'FRAME', 'STOP'):
                raise Unknown(f'has the opcode {name}')
        return self._stack.pop()

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
        typed(self._stack[-1], list).append(item)

    def _appends(self, _) -> None:
        items = self._to_mark()
        typed(self._stack[-1], list).extend(items)

    def _add(self, _) -> None:
        items = self._to_mark()
        typed(self._stack[-1], set).update(map(checked_key, items))

    def _set_item(self, _) -> None:
        key, value = self._last(2)
        typed(self._stack[-1], dict, OrderedDict, Counter)[checked_key(key)] = value

    def _set_items(self, _) -> None:
        items = self._to_mark()
        target = typed(self._stack[-1], dict, OrderedDict, Counter)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[checked_key(key)] = value

    def _tuple(self, _) -> None:
        self._stack.append(tuple(self._to_mark()))

    def _frozenset(self, _) -> None:
        self._stack.append(frozenset(map(checked_key, self._to_mark())))

    def _put(self, place: int) -> None:
        self._budget.keep(_MEMO_BYTES)
        value = self._memo[place] = self._stack[-1]
        if isinstance(value, (UnfinishedArray, UnfinishedDType)):
            self._unfinished.setdefault(id(value), []).append(place)

    def _get(self, place: int) -> None:
        self._stack.append(self._memo[place])

    def _global(self, names: str) -> None:
        self._stack.append(self._lookup(_modern(*names.split(' ', 1))))

    def _stack_global(self, _) -> None:
        module, name = self._last(2)
        self._stack.append(self._lookup(_modern(typed(module, str), typed(name, str))))

    def _new(self, _) -> None:
        made, arguments = self._last(2)
        if not isinstance(made, Known) or made.new is None:
            raise pickle.UnpicklingError(f'makes an object of {type(made).__name__}')
        self._stack.append(made.new(*typed(arguments, tuple)))

    def _reduce(self, _) -> None:
        function, arguments = self._last(2)
        if not isinstance(function, Known) or function.call is None:
            raise pickle.UnpicklingError(f'calls {type(function).__name__}')
        result = function.call(*typed(arguments, tuple))
        self._budget.take(result)
        self._stack.append(result)

    def _build(self, _) -> None:
        state = self._stack.pop()
        value = self._stack[-1]
        builder = self._builders.get(type(value))
        if builder is None:
            raise pickle.UnpicklingError(f'sets the state of {type(value).__name__}')
        built = self._stack[-1] = builder(value, state)
        if built is not value:
            self._budget.take(built)
            for place in self._unfinished.pop(id(value), ()):
                self._memo[place] = built

    def _persistent(self, _) -> None:
        identity = typed(self._stack.pop(), tuple)
        if len(identity) == 4 and isinstance(identity[1], Known):  # the older format: a class, and its source beside it
            self._stack.append(identity[1])
            return
        kind, storage_type, key, _location, numel = identity[:5]
        if kind != 'storage' or self._storage is None or identity[5:] not in ((), (None,)):
            raise pickle.UnpicklingError('refers to something that is no storage of a tensor')
        dtype = torch.uint8 if storage_type is UNTYPED else typed(storage_type, torch.dtype)
        content = self._storage(typed(key, str, int), checked_size(numel) * dtype.itemsize)
        self._stack.append(Storage(content, dtype))


_PUSHES = {
    *('BININT', 'BININT1', 'BININT2', 'LONG1', 'LONG4', 'BINFLOAT'),
    *('BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8', 'BINSTRING', 'SHORT_BINSTRING'),
    *('BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8', 'BYTEARRAY8'),
}
_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False, 'EMPTY_TUPLE': ()}
_EMPTY = {'EMPTY_LIST': list, 'EMPTY_DICT': dict, 'EMPTY_SET': set}
_STEPS: dict[str, Callable[[Machine, Any], None]] = {
    'MARK': Machine._mark,
    'APPEND': Machine._append,
    'APPENDS': Machine._appends,
    'ADDITEMS': Machine._add,
    'SETITEM': Machine._set_item,
    'SETITEMS': Machine._set_items,
    'TUPLE': Machine._tuple,
    'FROZENSET': Machine._frozenset,
    **{f'TUPLE{n}': lambda machine, _, n=n: machine._stack.append(tuple(machine._last(n))) for n in (1, 2, 3)},
    **dict.fromkeys(('BINPUT', 'LONG_BINPUT'), Machine._put),
    'MEMOIZE': lambda machine, _: machine._put(len(machine._memo)),
    **dict.fromkeys(('BINGET', 'LONG_BINGET'), Machine._get),
    'GLOBAL': Machine._global,
    'STACK_GLOBAL': Machine._stack_global,
    'NEWOBJ': Machine._new,
    'REDUCE': Machine._reduce,
    'BUILD': Machine._build,
    'BINPERSID': Machine._persistent,
}


def _modern(module: str, name: str) -> str:
    """A name of Python 2 or 3, which pickles of protocol 2 have, in Python 3."""
    return f'{dict(__builtin__="builtins", copy_reg="copyreg").get(module, module)}.{name}'


def typed(value: Any, *types: type) -> Any:
    """The value, if its type is exactly one of these."""
    if type(value) not in types:
        raise pickle.UnpicklingError(f'has {type(value).__name__} where {types[0].__name__} should be')
    return value


def checked_key(value: Any) -> Any:
    """The value, if it may be a key: Python hashes tuples in tuples until its stack ends."""
    for item in value if type(value) is tuple else (value,):
        typed(item, str, int, float, bool, bytes, type(None), torch.dtype, torch.device)
        # Numbers without end can be chosen to fall into one place of a dict, which is then slow.
        if type(item) is int and abs(item) >= _TOO_LARGE:
            raise pickle.UnpicklingError('has a key of more than 63 bits')
    return value


def checked_size(value: Any) -> int:
    """The value, if it may be the size of something."""
    if not 0 <= typed(value, int) < _TOO_LARGE:
        raise pickle.UnpicklingError('has a size that no tensor can have')
    return value
