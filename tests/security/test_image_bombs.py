"""Pictures that are something else than they say: each reader of the package meets them in a process with little memory and little time.

A canary each: memory that would be taken, a program that would be started, a process that would die, wait, or go round for ever.
"""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from picture_files import chunk, tiff
from PIL import Image

from mmlska.infer import resolve

REPOSITORY = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name('image_readers.py')
READ = (
    'header', 'photo', 'opened', 'predicted', 'on the page', 'analysed', 'pretrained', 'in the gallery', 'overlaid',
    'as bands', 'as a picture',
)  # fmt: skip
pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='memory is limited as Linux does')


def run(pairs: list[tuple[str, Path]], room: int = 700, **environment: str) -> list[str | None]:
    """What each reader says of its file, None if it takes it; their process may use so many MB more than it starts with."""
    names = [[name, str(path)] for name, path in pairs]
    result = subprocess.run(
        [sys.executable, str(DRIVER), str(room), json.dumps(names)],
        env={**os.environ, 'OPENCV_LOG_LEVEL': 'SILENT', 'PYTHONPATH': str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 0, (lines[-1:], result.stderr[-2000:])
    assert lines[::2] == names
    said = lines[1::2]
    assert all(line is None or line.isprintable() for line in said), said
    return said


def run_code(code: str, folder: Path, *words: str) -> str:
    """What a program prints, in a process that may take a minute."""
    result = subprocess.run(
        [sys.executable, '-c', code, *words],
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def png(width: int, height: int, *, first: bytes = b'', size: tuple[int, int] | None = None) -> bytes:
    """A PNG of zeros, with more chunks before its pixels, and another size in its header."""
    head = chunk(b'IHDR', struct.pack('>IIBBBBB', *(size or (width, height)), 8, 0, 0, 0, 0))
    rows = chunk(b'IDAT', zlib.compress(bytes(height * (width + 1))))
    return b'\x89PNG\r\n\x1a\n' + head + first + rows + chunk(b'IEND', b'')


def zeros(width: int, height: int, sizes: list[tuple[int, int]], order: str = '<', big: bool = False) -> bytes:
    """A TIFF of deflated zeros, each strip of 100 rows the same bytes; ``sizes`` are its first entries, tag and value."""
    strip, count = zlib.compress(bytes(width * 100), 9), -(-height // 100)
    single = [(tag, 4, 1, value) for tag, value in (*sizes, (258, 8), (259, 8), (262, 1), (277, 1), (278, 100))]
    strips = [(273, 4, count, [None] * count), (279, 4, count, [len(strip)] * count)]
    return tiff([*single, *strips], order, big, strip)


def encoded(kind: str, size: tuple[int, int] = (30, 20)) -> bytes:
    file = io.BytesIO()
    Image.new('RGB', size, 'red').save(file, kind)
    return file.getvalue()


def saying(kind: str, width: int, height: int) -> bytes:
    """A small file that says that it is large."""
    data = encoded(kind)
    if kind == 'JPEG':
        at = data.index(b'\xff\xc0') + 5
        return data[:at] + struct.pack('>HH', height, width) + data[at + 4 :]
    if kind == 'BMP':
        return data[:18] + struct.pack('<ii', width, -height) + data[26:]
    canvas = struct.pack('<4sIB3x', b'VP8X', 10, 0) + b''.join((n - 1).to_bytes(3, 'little') for n in (width, height))
    return b'RIFF' + struct.pack('<I', len(data) - 8 + len(canvas)) + b'WEBP' + canvas + data[12:]


def lay_out(root: Path, contents: dict[str, bytes]) -> list[Path]:
    """A class folder for each, as the reader of pretraining wants it; all are called .png."""
    paths = [root / 'train' / name / f'{name}.png' for name in contents]
    for path, content in zip(paths, contents.values()):
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    return paths


def test_nothing_large_is_decoded(tmp_path):
    """Canary: none of these small files has room in 700 MB. Those of two sizes pass for 100 x 100 where the wrong one is asked for."""
    large, small = (256, 22_000), (256, 100)
    rows, few = (257, 22_000), (257, 100)
    contents = {
        'two-widths': zeros(22_000, 22_000, [large, small, rows]),
        'two-widths-small-first': zeros(22_000, 22_000, [small, large, rows]),
        'two-heights': zeros(22_000, 22_000, [large, rows, few]),
        'two-of-both-large-endian': zeros(22_000, 22_000, [large, small, rows, few], '>'),
        'two-of-both-big': zeros(22_000, 22_000, [large, small, rows, few], big=True),
        'tiff': zeros(30_000, 30_000, [(256, 30_000), (257, 30_000)]),
        'two-tiles': zeros(64, 64, [(256, 64), (257, 64), (322, 32_768), (323, 32_752)]),
        'png': png(100, 100, size=(30_000, 30_000)),
        'jpeg': saying('JPEG', 60_000, 60_000),
        'bmp': saying('BMP', 30_000, 30_000),
        'webp': saying('WEBP', 16_384, 16_384),
    }
    assert max(map(len, contents.values())) < 100_000
    pairs = [(reader, path) for path in lay_out(tmp_path, contents) for reader in READ]
    for (reader, path), said in zip(pairs, run(pairs)):
        assert said, (reader, path)
        assert path.name in said
        two = path.name.startswith('two-')
        wanted = (
            ('header does not give one size', 'an image that can be read')
            if two
            else ('pixels, more than', 'million pixels')
        )
        assert any(text in said for text in wanted), said


def test_large_images_by_tiles_are_still_read(tmp_path):
    """What --tile is for: above the limits of everything else, but not above OpenCV's own."""
    (tmp_path / 'large.png').write_bytes(png(12_000, 6000))
    (tmp_path / 'larger.png').write_bytes(png(1, 1, size=(40_000, 30_000)))
    large, larger = tmp_path / 'large.png', tmp_path / 'larger.png'
    whole, few, many = run([('tiled', large), ('predicted', large), ('tiled', larger)])
    assert whole is None
    assert 'has 12000x6000 pixels, more than 64 million: predict it in tiles (tile=1024, --tile 1024)' in few
    assert 'larger.png is not an image that OpenCV can read (pixels <= CV_IO_MAX_IMAGE_PIXELS)' in many


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 50 50
%%EndComments
newpath 0 0 50 50 rectfill showpage
%%EOF
"""


def test_postscript_named_as_an_image_starts_nothing(tmp_path):
    """Canary: a gs, first on PATH, that leaves a file. Pillow starts it by the content alone."""
    canary, program = tmp_path / 'started', tmp_path / 'bin' / 'gs'
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ntouch {canary}\n')
    program.chmod(0o755)
    search = f'{program.parent}:{os.environ["PATH"]}'
    (path,) = lay_out(tmp_path, {'eps': EPS})

    code = 'import sys; from PIL import Image; Image.open(sys.argv[1]).load()'
    subprocess.run([sys.executable, '-c', code, path], env={'PATH': search}, capture_output=True, check=False)
    assert canary.exists()
    canary.unlink()

    for said in run([(reader, path) for reader in (*READ, 'tiled', 'alone')], PATH=search):
        assert 'eps.png is not an image' in said
    assert not canary.exists()


NO_IMAGES = {
    'gif': encoded('GIF'),
    'jpeg2000': b'\0\0\0\x0cjP  \r\n\x87\n' + bytes(40),
    'ppm': b'P6\n3 2\n255\n' + bytes(18),
    'hdr': b'#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 2 +X 3\n' + bytes(24),
    'sun': struct.pack('>8I', 0x59A66A95, 3, 2, 24, 20, 1, 0, 0) + bytes(20),
    'pfm': b'PF\n3 2\n-1.0\n' + bytes(72),
    'ico': encoded('ICO', (16, 16)),
    'svg': b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:9/"/></svg>',
    'empty': b'',
    'one-byte': b'\xff',
    'start-of-jpeg': b'\xff\xd8\xff',
    'start-of-png': b'\x89PNG\r\n\x1a\n',
    'start-of-bmp': b'BM',
    'start-of-tiff': b'II*\0\x08\0\0\0',
    'start-of-webp': b'RIFF\x10\0\0\0WEBPVP8 ',
    'half-a-png': png(300, 200)[:60],
    'jpeg-without-pixels': b'\xff\xd8\xff\xd9',
    'jpeg-of-a-million-segments': b'\xff\xd8' + b'\xff\xe0\0\2' * 1_000_000,
    'jpeg-of-fill': b'\xff\xd8' + b'\xff' * 4_000_000,
}


def test_other_formats_and_beginnings_are_named(tmp_path):
    """Of the formats OpenCV reads most, by decoders that few have tried."""
    paths = lay_out(tmp_path, NO_IMAGES)
    readers = [
        reader for reader in (*READ, 'tiled', 'alone') if reader not in ('header', 'overlaid')
    ]  # who take half a file
    pairs = [(reader, path) for path in paths for reader in readers]
    for (reader, path), said in zip(pairs, run(pairs)):
        assert said, (reader, path)
        assert f'{path.name} is not a' in said, said


def test_damaged_animations_kill_nothing(tmp_path):
    """Canary: OpenCV 4.12 dies of an animated PNG whose first frame is damaged."""
    pixels = chunk(b'IDAT', zlib.compress(b'\x09' + bytes(range(256)) * 10))
    control = chunk(b'fcTL', struct.pack('>IIIIIHHBB', 0, 30, 20, 0, 0, 1, 1, 0, 0))
    count = chunk(b'acTL', struct.pack('>II', 2, 0))
    starts = dict(one=count, both=count + control, turned=control + count, short=count + chunk(b'fcTL', b''))
    paths = lay_out(tmp_path, {name: png(30, 20, first=start + pixels) for name, start in starts.items()})
    pairs = [(reader, path) for path in paths for reader in (*READ, 'tiled', 'alone')]
    for (reader, path), said in zip(pairs, run(pairs)):
        assert said, (reader, path)


LISTED = """
import os, sys
from mmlska.images import photos_in
from mmlska.infer import resolve
from mmlska.classification import PhotoFolder

assert len(PhotoFolder('.')) == 1
for found in (photos_in('.'), resolve('train/class'), resolve('**/*'), resolve('train/*/*.png')):
    assert [path.name for path in found] == ['real.png'], found
"""


def test_pipes_and_devices_are_not_waited_for(tmp_path):
    """Canary: a process that opens a pipe to which nobody writes never ends."""
    (real,) = lay_out(tmp_path, {'class': png(3, 2)})
    os.mkfifo(real.with_name('pipe.png'))
    real.with_name('zero.png').symlink_to('/dev/zero')
    real.with_name('folder.png').mkdir()
    pairs = [
        (reader, real.with_name(name))
        for reader in (*READ, 'tiled', 'alone')
        for name in ('pipe.png', 'zero.png')
        if reader != 'pretrained'
    ]
    for (reader, path), said in zip(pairs, run(pairs)):
        assert said, reader
        assert f'{path.name} is no' in said, said
    real.rename(real.with_name('real.png'))
    run_code(LISTED, tmp_path)


ROUND = """
import os, sys
from mmlska.images import photos_in
from mmlska.infer import resolve

assert len(photos_in('.')) == 3
for pattern in sys.argv[1:]:
    found = [os.path.realpath(path) for path in resolve(pattern)]
    assert len(set(found)) == len(found) == 3, (pattern, found)
"""


def test_links_in_circles_end(tmp_path):
    """Canary: a pattern that goes round two links has 2^40 names for each file."""
    (tmp_path / 'deep' / 'er').mkdir(parents=True)
    for folder in (tmp_path, tmp_path / 'deep', tmp_path / 'deep' / 'er'):
        (folder / 'a.png').write_bytes(png(3, 2))
        for name in ('back', 'forth'):
            (folder / name).symlink_to(tmp_path)
    patterns = ['**/*.png', '**', '**/**/*.png', 'deep/**/*.png', '*/**/a*', '**/back/**/?.png', '[d]eep/../**/*.png']
    run_code(ROUND, tmp_path, *patterns, str(tmp_path / '**'))


def test_linked_folders_are_still_searched(tmp_path, monkeypatch):
    """A link under a pattern was followed before, and a hidden folder never was."""
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'photos' / '.hidden').mkdir(parents=True)
    (tmp_path / 'photos' / 'linked').symlink_to(tmp_path / 'elsewhere')
    for name in ('elsewhere/a.png', 'photos/b.png', 'photos/.hidden/c.png', 'photos/[d].png', 'photos/e.mp4'):
        (tmp_path / name).touch()
    assert {path.name for path in resolve(tmp_path / 'photos/**')} == {'a.png', 'b.png', '[d].png', 'e.mp4'}
    monkeypatch.chdir(tmp_path)
    assert [str(path) for path in resolve('photos/**/[ab].png')] == ['photos/b.png', 'photos/linked/a.png']
    assert [str(path) for path in resolve('**/a.png')] == ['elsewhere/a.png']  # once, by its first name


def test_inputs_that_are_no_files():
    for name in ('x' * 5000, 'a\0b.png', 'a\0*.png', '~nobody-of-this-name/a.png', 'a\nb\udcff.png'):
        with pytest.raises(FileNotFoundError, match='does not exist|matches no image') as error:
            resolve(name)
        assert str(error.value).isprintable()
    with pytest.raises(ValueError, match='/dev/null is no regular file'):
        resolve('/dev/null')
