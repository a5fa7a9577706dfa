"""Small files that promise gigabytes are refused before anything of that size is allocated: a process of one more gigabyte lives."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
import zipfile

import pytest
import torch
from evil_files import named, tensor_call, write_zip

# Reads a file in a process that gets no more than a gigabyte, and does with the tensors what converting does.
READ = """
import resource, sys
import torch
from mmlska.weights import WeightsError, read_checkpoint
from mmlska.weights.checkpoint_file import read_pickle_file

used = next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmSize')) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
try:
    content = read_pickle_file(sys.argv[1], 10**6) if sys.argv[1].endswith('.pkl') else read_checkpoint(sys.argv[1]).content
    copies = [value.contiguous().clone() for value in content.values() if isinstance(value, torch.Tensor)]
except WeightsError as error:
    print(f'refused: {error}')
"""


def compressed(path):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        size, piece = 3 * 2**29, bytes(2**24)
        archive.writestr('archive/data.pkl', named(tensor_call(size // 4, [size // 4], [1])))
        with archive.open('archive/data/0', 'w') as entry:
            for _ in range(size // len(piece)):
                entry.write(piece)
        archive.writestr('archive/version', '3\n')


def overlapping(path):
    """Many parts in the list of the archive that are all the same bytes."""
    size, count = 2**23, 200
    keys = [str(i) for i in range(count)]
    calls = [tensor_call(size // 4, [size // 4], [1], key) for key in keys]
    write_zip(path, named(*calls), {'0': bytes(size)})
    with zipfile.ZipFile(path, 'a') as archive:
        first = archive.getinfo('archive/data/0')
        for key in keys[1:]:
            twin = zipfile.ZipInfo(f'archive/data/{key}')
            twin.header_offset, twin.file_size, twin.compress_size, twin.CRC = (
                first.header_offset,
                first.file_size,
                first.compress_size,
                first.CRC,
            )
            archive.filelist.append(twin)
        archive._didModify = True


def allocated(path):
    write_zip(path, b'\x80\x02c__builtin__\nbytearray\n\x8a\x05\x00\xe4\x0b\x54\x02\x85R.', {})


def constructed(path):
    write_zip(path, b'\x80\x02ctorch\nFloatTensor\n\x8a\x05\x00\xe4\x0b\x54\x02\x85R.', {})


def promised(path):
    """The older format, whose pickle says how large a tensor is before it comes."""
    torch.save(dict(a=torch.arange(7.0)), path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    place = data.index(b'cpu') + 3
    place = data.index(b'K\x07', place)
    path.write_bytes(data[:place] + b'J' + struct.pack('<i', 10**9) + data[place + 2 :])


def expanded(path):
    write_zip(path, named(tensor_call(1, [3 * 10**9], [0])), {'0': bytes(4)})


def beyond(path):
    write_zip(path, named(tensor_call(1, [10**9], [1])), {'0': bytes(4)})


def shared(path):
    numel = 2**21
    write_zip(path, named(*[tensor_call(numel, [numel], [1])] * 300), {'0': bytes(4 * numel)})


def objects(path):
    write_zip(path, b'\x80\x02(' + b']' * 13_000_000 + b't.', {})


def header(path):
    entry = dict(a=dict(dtype='F32', shape=[10**10], data_offsets=[0, 4 * 10**10]))
    text = json.dumps(entry).encode()
    path.write_bytes(struct.pack('<Q', len(text)) + text)


def memo(path):
    """C's unpickler makes a list as long as the number says."""
    path.write_bytes(b'\x80\x02]r' + struct.pack('<I', 2**29) + b'.')


def long_bytes(path):
    path.write_bytes(b'\x80\x04\x8e' + struct.pack('<Q', 2**33) + b'abc.')


def _text(text: bytes) -> bytes:
    return b'X' + struct.pack('<I', len(text)) + text


def _repeated(kept: bytes, call: bytes, count: int) -> bytes:
    """A list of what a call makes again and again of one thing that the pickle keeps."""
    return b'\x80\x02}(' + _text(b'k') + kept + b'q\x00' + _text(b'l') + b'](' + call * count + b'eu.'


def encoded_often(path):
    call = b'c_codecs\nencode\nh\x00' + _text(b'latin1') + b'\x86R'
    write_zip(path, _repeated(_text(b'a' * 5_000_000), call, 1000), {})


def arrays_often(path):
    content = b'c_codecs\nencode\n' + _text(b'a' * 5_000_000) + _text(b'latin1') + b'\x86R'
    dtype = (
        b'cnumpy\ndtype\n'
        + _text(b'u1')
        + b'\x89\x88\x87R(K\x03'
        + _text(b'|')
        + b'NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb'
    )
    array = b'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85' + _text(b'b') + b'\x87R'
    array += b'(K\x01J' + struct.pack('<i', 5_000_000) + b'\x85' + dtype + b'\x89h\x00tb'
    path.write_bytes(_repeated(content, array, 1000))


def sets_often(path):
    numbers = b''.join(b'J' + struct.pack('<i', i) for i in range(200_000))
    write_zip(path, _repeated(b'](' + numbers + b'e', b'c__builtin__\nset\nh\x00\x85R', 300), {})


def endless_numbers(path):
    """Multiplying such a number with itself takes minutes."""
    number = b'\x8b' + struct.pack('<i', 300_000) + b'\x7f' * 300_000 + b'q\x00'
    size = b'(' + b'h\x00' * 64 + b't'
    storage = b'(' + _text(b'storage') + b'ctorch\nFloatStorage\n' + _text(b'0') + _text(b'cpu') + b'K\x01tQ'
    tensor = (
        b'ctorch._utils\n_rebuild_tensor_v2\n('
        + storage
        + b'K\x00'
        + size
        + size
        + b'\x89ccollections\nOrderedDict\n)RtR'
    )
    write_zip(path, b'\x80\x02}(' + _text(b'k') + number + _text(b'z') + tensor + b'u.', {'0': bytes(4)})


def colliding_keys(path):
    """All of them in one place of the dict."""
    keys = b''.join(b'\x8a\x0c' + (i * (2**61 - 1)).to_bytes(12, 'little') + b'N' for i in range(1, 30_000))
    write_zip(path, b'\x80\x02}(' + _text(b'k') + b'}(' + keys + b'uu.', {})


@pytest.mark.parametrize(
    ('write', 'name', 'message'),
    [
        (encoded_often, 'w.pth', 'unfolds to more than 64 MiB'),
        (arrays_often, 'w.pkl', 'unfolds to more than 64 MiB'),
        (sets_often, 'w.pth', 'unfolds to more than 64 MiB'),
        (endless_numbers, 'w.pth', 'has a size that no tensor can have'),
        (colliding_keys, 'w.pth', 'has a key of more than 63 bits'),
        (compressed, 'w.pth', 'is compressed, which torch.save never does'),
        (overlapping, 'w.pth', 'has parts that lie over each other'),
        (allocated, 'w.pth', 'asks for builtins.bytearray'),
        (constructed, 'w.pth', 'asks for torch.FloatTensor'),
        (promised, 'w.pth', 'promises 4000000000 bytes that it does not have'),
        (expanded, 'w.pth', 'unfolds to more than 64 MiB of tensors, far more than the file itself'),
        (beyond, 'w.pth', 'has a tensor that reaches beyond its content'),
        (shared, 'w.pth', 'unfolds to more than 64 MiB'),
        (objects, 'w.pth', 'has more than the 2,000,000 objects that are read'),
        (header, 'w.safetensors', 'is truncated or damaged'),
        (memo, 'w.pkl', None),
        (long_bytes, 'w.pkl', 'is truncated or damaged'),
    ],
    ids=lambda value: getattr(value, '__name__', ''),
)
def test_what_unfolds_to_gigabytes_is_refused(tmp_path, write, name, message):
    path = tmp_path / name
    write(path)
    assert path.stat().st_size < 14 * 2**20
    done = subprocess.run(
        [sys.executable, '-c', READ, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == (0 if message else 1), done.stderr[-500:]
    if message:
        assert done.stdout.startswith(f'refused: {path} ')
        assert message in done.stdout
        assert done.stdout.count('\n') == 1
    else:  # an empty list: harmless now, and no predictions
        assert "'list' object has no attribute 'values'" in done.stderr


def test_a_dict_that_holds_itself_ends(tmp_path):
    from mmlska.weights import WeightsError, inspect_state_dict, read_checkpoint

    write_zip(
        tmp_path / 'w.pth', b'\x80\x02}q\x00(' + _text(b'state_dict') + b'h\x00' + _text(b'model') + b'h\x00u.', {}
    )
    with pytest.raises(
        WeightsError, match='the weights lie below state_dict.state_dict.* or deeper; give a state dict'
    ):
        inspect_state_dict(read_checkpoint(tmp_path / 'w.pth').content)


def test_what_shares_memory_by_right_is_read(tmp_path):
    """Averaged weights, tied ones, expanded small ones."""
    weights = torch.rand(2**22)
    content = dict(a=weights, b=weights, c=weights[5:].view(-1), d=torch.ones(1).expand(2**20), e=torch.zeros(0, 3))
    torch.save(content, tmp_path / 'w.pth')
    from mmlska.weights import read_checkpoint

    read = read_checkpoint(tmp_path / 'w.pth').content
    assert all(torch.equal(read[name], value) for name, value in content.items())
    assert read['a'].untyped_storage().data_ptr() == read['b'].untyped_storage().data_ptr()
    assert read['d'].stride() == (0,)


def test_a_pickle_may_be_as_large_as_a_test_set(tmp_path):
    from mmlska.weights.checkpoint_file import read_pickle_file

    content = [dict(img_path=f'{i}.png', masks=[dict(size=[8, 8], counts=b'\xff0')] * 5) for i in range(2000)]
    (tmp_path / 'p.pkl').write_bytes(pickle.dumps(content, 2))
    assert read_pickle_file(tmp_path / 'p.pkl', 10**6) == content
