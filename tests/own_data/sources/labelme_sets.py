"""LabelMe files for the tests."""

import base64
import io
import json
import struct
import zlib

import numpy as np
from own_sets import photo
from PIL import Image
from pycocotools import mask as coco_mask

from mmlska.own_data.check import check_folder
from mmlska.own_data.sources import require_source

SQUARE = [[10, 10], [30, 10], [30, 40], [10, 40]]
LEFT = [[0, 0], [8, 0], [8, 8], [0, 8]]


def shape(label='cat', points=SQUARE, kind='polygon', **more):
    return dict(label=label, points=points, shape_type=kind, group_id=None, flags={}, **more)


def write(path, *shapes, **more):
    content = dict(version='5.4.1', flags={}, shapes=list(shapes), imagePath=f'{path.stem}.jpg', imageData=None)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**content, 'imageHeight': 60, 'imageWidth': 80, **more}), encoding='utf-8')


def one(root, *shapes, **more):
    """A set of one photo."""
    photo(root / 'a.jpg')
    write(root / 'a.json', *shapes, **more)
    return root


def read(root):
    return require_source(root, 'mmdet', label_format='labelme').read()


def images(labels):
    return {image.entry['file_name']: image for images in labels.splits.values() for image in images}


def objects(root):
    return images(read(root))['a.jpg'].annotations


def left_out(root):
    """The shapes and files that are not read: kind and place."""
    findings = check_folder(str(root), label_format='labelme').report.findings
    found = [f for f in findings if f.level == 'error' or f.kind.startswith('shape ')]
    return [(finding.kind, place) for finding in found for place in finding.places]


def png(mask):
    content = io.BytesIO()
    Image.fromarray(np.asarray(mask, np.uint8)).save(content, 'PNG')
    return base64.b64encode(content.getvalue()).decode()


def huge_png():
    """A few bytes that claim to be a picture of 60000x60000 pixels."""
    head = struct.pack('>IIBBBBB', 60000, 60000, 8, 0, 0, 0, 0)
    parts = [(b'IHDR', head), (b'IDAT', zlib.compress(bytes(100))), (b'IEND', b'')]
    chunks = [struct.pack('>I', len(d)) + k + d + struct.pack('>I', zlib.crc32(k + d)) for k, d in parts]
    return base64.b64encode(b'\x89PNG\r\n\x1a\n' + b''.join(chunks)).decode()


def pixels(annotation):
    return coco_mask.decode(annotation['segmentation']).astype(bool)
