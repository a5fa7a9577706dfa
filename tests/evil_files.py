"""Files that run code, or unfold to gigabytes, when they are read as pickles are."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import torch


class Payload:
    """Pickles as a call that makes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.system, (f'touch {self.canary}',)


class Evaluated(Payload):
    def __reduce__(self):
        return eval, (f'open({str(self.canary)!r}, "w")',)


def _top(path: Path, payload: Payload) -> None:
    torch.save(payload, path)


def _in_meta(path: Path, payload: Payload) -> None:
    torch.save(dict(state_dict={'norm1.bias': torch.zeros(2)}, meta=dict(cfg=[payload])), path)


def _legacy(path: Path, payload: Payload) -> None:
    content = dict(state_dict={'norm1.bias': torch.zeros(2)}, optimizer=payload)
    torch.save(content, path, _use_new_zipfile_serialization=False)


def _new_protocol(path: Path, payload: Payload) -> None:
    torch.save(dict(state_dict={'norm1.bias': torch.zeros(2)}, meta=payload), path, pickle_protocol=4)


def _bare_pickle(path: Path, payload: Payload) -> None:
    path.write_bytes(pickle.dumps(dict(state_dict=payload), 2))


def _tar(path: Path, payload: Payload) -> None:
    """The format of torch before 0.1.10."""
    with tarfile.open(path, 'w') as archive:
        for name in ('sys_info', 'pickle', 'storages', 'tensors'):
            data = pickle.dumps(payload if name == 'pickle' else 0, 2)
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


#: How a checkpoint can hold a payload, by a name; the suffix is what the file is called.
CHECKPOINTS = {
    'zip.pth': _top,
    'in_meta.pth': _in_meta,
    'legacy.pth': _legacy,
    'called.safetensors': _in_meta,
    'protocol_4.pth': _new_protocol,
    'bare.pkl.pth': _bare_pickle,
    'tar.pth': _tar,
}


def predictions(kind: str, path: Path, canary: Path) -> None:
    """Write a .pkl file of predictions with a payload."""
    payload = Payload(canary)
    if kind == 'in a tensor':
        inner = io.BytesIO()
        torch.save(payload, inner, _use_new_zipfile_serialization=False)
        payload = Reduced(torch.storage._load_from_bytes, inner.getvalue())
    elif kind == 'eval':
        payload = Evaluated(canary)
    elif kind == 'loads':
        payload = Reduced(pickle.loads, pickle.dumps(payload))
    content = [dict(img_path='a.png', pred_instances=payload)] * 2
    path.write_bytes(pickle.dumps(content, 4 if kind == 'protocol 4' else 2))


PREDICTIONS = ('plain', 'protocol 4', 'in a tensor', 'eval', 'loads')


class Reduced:
    """Pickles as any call."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


# Pickles written by hand: of a dict(a=tensor).


def _int(number: int) -> bytes:
    if 0 <= number < 1 << 31:
        return b'J' + struct.pack('<i', number)
    data = pickle.encode_long(number)
    return b'\x8a' + bytes([len(data)]) + data


def _text(text: str) -> bytes:
    return b'X' + struct.pack('<I', len(text)) + text.encode()


def _tuple(numbers: list[int]) -> bytes:
    return b'(' + b''.join(map(_int, numbers)) + b't'


def tensor_call(numel: int, size: list[int], stride: list[int], key: str = '0') -> bytes:
    """A call that rebuilds a float32 tensor on a storage."""
    storage = b'(' + _text('storage') + b'ctorch\nFloatStorage\n' + _text(key) + _text('cpu') + _int(numel) + b'tQ'
    arguments = b'(' + storage + _int(0) + _tuple(size) + _tuple(stride) + b'\x89ccollections\nOrderedDict\n)Rt'
    return b'ctorch._utils\n_rebuild_tensor_v2\n' + arguments + b'R'


def named(*values: bytes) -> bytes:
    """The pickle of a dict with these values."""
    items = b''.join(_text(f'blocks1.{i}.layer_scale_1') + value for i, value in enumerate(values))
    return b'\x80\x02}(' + items + b'u.'


def write_zip(path: Path, content: bytes, storages: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """Write a file of torch around a pickle."""
    with zipfile.ZipFile(path, 'w', compression, compresslevel=1) as archive:
        archive.writestr('archive/data.pkl', content)
        archive.writestr('archive/byteorder', 'little')
        for key, data in storages.items():
            archive.writestr(f'archive/data/{key}', data)
        archive.writestr('archive/version', '3\n')
    return path
