"""Run lengths as Kaggle's competitions have them, read through the public path."""

import csv
from pathlib import Path

import numpy as np
import pytest
from own_sets import MASK_RCNN, SIZE, adapt, photo
from PIL import Image
from pycocotools import mask as coco_mask

from mmlska.own_data.check import check_folder
from mmlska.own_data.data_folder import DataFolder
from mmlska.own_data.sources import find_source, require_source
from mmlska.own_data.sources.boxes_csv import CsvSource
from mmlska.own_data.sources.kaggle_rle import RleSource

WIDTH, HEIGHT = SIZE
PIXELS = WIDTH * HEIGHT
NOT_USED = 'photo without a label file, not used'
#: The pixels 5 to 8 of the first column, and two of the second one.
RUNS, COUNTS = '5 4 62 2', [4, 4, 53, 2, 4737]
HEAD = 'ImageId,ClassId,EncodedPixels'


def labelled(root: Path, text: str, name='masks.csv') -> Path:
    for place in ('a.jpg', 'b.jpg'):
        photo(root / place)
    (root / name).write_text(text, encoding='utf-8')
    return root


def read(root: Path) -> dict:
    """The class and the run lengths of each object, by split and photo."""
    labels = require_source(root, 'mmdet', label_format='rle').read()
    return {
        (split, image.entry['file_name']): [
            (labels.classes[a['category_id'] - 1], a['segmentation']['counts']) for a in image.annotations
        ]
        for split, images in labels.splits.items()
        for image in images
    }


def notes(root: Path) -> list[str]:
    return require_source(root, 'mmdet', label_format='rle').read().notes


def findings(root: Path) -> dict[str, list[str]]:
    return {f.kind: f.places for f in check_folder(str(root), label_format='rle').report.findings}


def encoded(mask: np.ndarray) -> str:
    """The pairs of a mask, as Kaggle's pages explain them."""
    inside = np.flatnonzero(np.concatenate([[0], mask.T.ravel(), [0]]))
    starts = [v for v in inside if v - 1 not in set(inside)]
    ends = [v for v in inside if v + 1 not in set(inside)]
    return ' '.join(f'{start} {end - start + 1}' for start, end in zip(starts, ends))


@pytest.mark.parametrize(
    ('text', 'wanted'),
    [
        (f'{HEAD}\na.jpg,cat,{RUNS}\nb.jpg,,\n', [('cat', COUNTS)]),
        (f'image_id,EncodedPixels,label\na,{RUNS},cat\nb,-1,\n', [('cat', COUNTS)]),
        (f'ImageId_ClassId,EncodedPixels\na.jpg_3,{RUNS}\na.jpg_4,\nb.jpg_1,\n', [('3', COUNTS)]),
        (f'Image_Label,EncodedPixels\na.jpg_Fish,{RUNS}\nb.jpg_Fish,nan\n', [('Fish', COUNTS)]),
        (f'id,annotation,width,height,cell_type\na,{RUNS},80,60,shsy5y\nb,,80,60,cort\n', [('shsy5y', COUNTS)]),
        (f'organ;id;rle\nkidney;a;{RUNS}\nkidney;b;\n', [('kidney', COUNTS)]),
        (f'img,rle_mask\na.png,{RUNS}\nB.JPG,NaN\n', [('object', COUNTS)]),
        (f'id,img_id,encoding\na,7,\nb,8,\na,9,{RUNS}\n', [('object', COUNTS)]),
        (
            f'filename,class,segmentation\nx/a.jpg,cat,{RUNS}\na.jpg,dog,1 {PIXELS}\nb.jpg,,\n',
            [('cat', COUNTS), ('dog', [0, PIXELS])],
        ),
        (f'{HEAD}\na.jpg,cat,62 2 5 4\nb.jpg,,\n', [('cat', COUNTS)]),  # in any order
        (f'{HEAD}\na.jpg,cat,5 2 7 2 62 1 63 1\nb.jpg,,\n', [('cat', COUNTS)]),  # in pieces
        (f'{HEAD}\na.jpg,cat,{PIXELS} 1\nb.jpg,,\n', [('cat', [PIXELS - 1, 1])]),
    ],
)
def test_forms(text, wanted, tmp_path):
    root = labelled(tmp_path, text)
    assert read(root) == {('', 'a.jpg'): wanted, ('', 'b.jpg'): []}
    remarks = [note for note in notes(root) if 'table without a column of classes' not in note]
    assert remarks == []
    assert len(notes(root)) == (wanted[0][0] == 'object')
    report = check_folder(str(root), label_format='rle').report
    assert (report.errors, report.images) == (0, 2)


@pytest.mark.parametrize('size', [(80, 60), (33, 71)])
@pytest.mark.parametrize('turned', [False, True])
def test_masks_come_back_as_they_were(size, turned, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1
    photo(tmp_path / 'train/a b.jpg', size[::-1] if turned else size, exif=exif)
    rows, columns = np.mgrid[: size[1], : size[0]]
    masks = [np.hypot(rows - 20, columns - 15) < 9, (rows + 2 * columns) % 7 == 0, rows + columns == 0]
    lines = ''.join(f'a b.jpg,{number},{encoded(mask)}\n' for number, mask in enumerate(masks))
    (tmp_path / 'l.csv').write_text(f'{HEAD}\n{lines}')
    labels = require_source(tmp_path, 'mmdet').read()
    [image] = labels.splits['train']
    assert (image.entry['width'], image.entry['height']) == size
    for mask, annotation in zip(masks, image.annotations, strict=True):
        runs = annotation['segmentation']
        assert (coco_mask.decode(coco_mask.frPyObjects(runs, *runs['size'])) == mask).all()
        assert annotation['area'] == mask.sum()
    assert image.annotations[2]['bbox'] == [0, 0, 1, 1]


def test_declared_sizes(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(tmp_path / 'a.jpg', exif=exif)  # stored as 80 x 60
    head = 'ImageId,EncodedPixels,Height,Width,ClassId'
    (tmp_path / 'l.csv').write_text(f'{head}\na.jpg,{RUNS},60,80,cat\n')
    labels = require_source(tmp_path, 'mmdet', label_format='rle').read()
    assert labels.as_stored
    assert labels.splits[''][0].annotations[0]['segmentation'] == {'size': [60, 80], 'counts': COUNTS}
    # One that is not the photo's: nobody knows where the pixels are.
    (tmp_path / 'l.csv').write_text(f'{head}\na.jpg,{RUNS},61,80,cat\n')
    assert findings(tmp_path)['mask size unlike the image'] == ['l.csv line 2: [61, 80], not [60, 80]']


@pytest.mark.parametrize(
    ('runs', 'reason'),
    [
        ('5 4 62', '3 numbers, which are no pairs of start and length'),
        ('5 4 8 2', 'runs that overlap'),
        ('8 2 5 4', 'runs that overlap'),
        ('5 0', 'a run of length 0 or less'),
        ('5 -4', 'a run of length 0 or less'),
        ('-5 4', 'start -5, though pixels count from 1'),
        (f'5 4 {PIXELS} 2', f'pixel {PIXELS + 1} of a photo with 80x60'),
        ('5 4 9999999999999999999999 1', 'pixel 9999999999999999999999 of a photo with 80x60'),
        ('5.5 4', "'5.5 4' are no whole numbers"),
        ('a', "'a' are no whole numbers"),
        ('0 4', 'start 0, though pixels count from 1: all rows fit if pixels count from 0; then add 1 to each start'),
    ],
)
def test_broken_runs(runs, reason, tmp_path):
    root = labelled(tmp_path, f'{HEAD}\na.jpg,cat,{runs}\nb.jpg,cat,{RUNS}\n')
    assert read(root)['', 'b.jpg'] == [('cat', COUNTS)]
    assert findings(root)['annotation that can not be read'] == [f'masks.csv line 2: {reason}']
    assert any(reason in note for note in notes(root))


def test_rows_from_0_and_from_1(tmp_path):
    root = labelled(tmp_path, f'{HEAD}\na.jpg,cat,0 4\nb.jpg,cat,{PIXELS} 1\n')
    assert findings(root)['annotation that can not be read'] == [
        'masks.csv line 2: start 0, though pixels count from 1'
    ]


@pytest.mark.parametrize(
    ('head', 'row', 'reason'),
    [
        (HEAD, 'a.jpg,cat', '2 cells, not 3; put cells with a comma into quotes'),
        (HEAD, f'a.jpg,,{RUNS}', 'an object without a class'),
        (HEAD, f',cat,{RUNS}', 'no name of a photo'),
        ('ImageId_ClassId,x,EncodedPixels', f'a.jpg,,{RUNS}', 'no name of a photo and a class with _ between them'),
    ],
)
def test_broken_rows(head, row, reason, tmp_path):
    good = f'b.jpg_cat,,{RUNS}' if '_' in head else f'b.jpg,cat,{RUNS}'
    root = labelled(tmp_path, f'{head}\n{row}\n{good}\n')
    assert read(root) == {('', 'b.jpg'): [('cat', COUNTS)]}  # a photo with a broken row alone is not background
    assert findings(root)['annotation that can not be read'] == [f'masks.csv line 2: {reason}']


def test_splits_and_copies(tmp_path):
    root = labelled(tmp_path, f'{HEAD}\na.jpg,cat,{RUNS}\n', 'train.csv')
    (root / 'val.csv').write_text(f'{HEAD}\nb.jpg,cat,{RUNS}\na.jpg,cat,1 1\n')
    (root / 'all.csv').write_text(f'{HEAD}\na.jpg,cat,{RUNS}\na.jpg,dog,{RUNS}\n')
    (root / 'sample_submission.csv').write_text(f'{HEAD}\na.jpg,cow,1 1\n')
    assert read(root) == {('train', 'a.jpg'): [('cat', COUNTS), ('dog', COUNTS)], ('val', 'b.jpg'): [('cat', COUNTS)]}
    found = findings(root)
    assert found['object written twice, read once'] == ['all.csv line 2']
    assert found['photo in a second split'] == ['a.jpg (val in val.csv, kept in train)']


def test_long_cells_and_photos_that_no_row_names(tmp_path):
    photo(tmp_path / 'a.png', (700, 700))
    photo(tmp_path / 'b.jpg')
    runs = ' '.join(f'{start} 1' for start in range(1, 700 * 700, 15))
    assert len(runs) > csv.field_size_limit()
    (tmp_path / 'l.csv').write_text(f'{HEAD}\na.png,cat,{runs}\n')
    before = csv.field_size_limit()
    assert sum(read(tmp_path)['', 'a.png'][0][1][1::2]) == len(range(1, 700 * 700, 15))
    assert csv.field_size_limit() == before
    assert notes(tmp_path) == [f'1 x {NOT_USED}: b.jpg']


def test_missing_and_broken_photos(tmp_path):
    root = labelled(tmp_path, f'{HEAD}\na.jpg,cat,{RUNS}\nno.jpg,cat,{RUNS}\n')
    with pytest.raises(FileNotFoundError, match='names 1 of 2 images .*: no.jpg'):
        read(root)
    assert findings(root)['missing image'] == ['no.jpg']
    (root / 'masks.csv').write_text(f'{HEAD}\na.jpg,cat,{RUNS}\nb.jpg,dog,{RUNS}\n')
    (root / 'b.jpg').write_bytes(b'')
    found = findings(root)
    assert any('b.jpg' in places[0] for places in found.values())
    assert found['class without annotations'] == ['dog']


@pytest.mark.parametrize('content', [b'\na.jpg,cat,"5 4\n', b'\na.jpg,cat,5 4\xff\n', b'\na.jpg,cat,5 4\0\n', b''])
def test_tables_that_can_not_be_read(content, tmp_path):
    root = labelled(tmp_path, '')
    (root / 'masks.csv').write_bytes(HEAD.encode() + content)
    with pytest.raises(ValueError, match='masks.csv') as error:
        read(root)
    assert '\n' not in str(error.value)
    (root / 'more.csv').write_text(f'{HEAD}\nb.jpg,cat,{RUNS}\n')
    assert read(root) == {('', 'b.jpg'): [('cat', COUNTS)]}
    assert findings(root).get('label file that can not be read', [''])[0].startswith('masks.csv' if content else '')


@pytest.mark.parametrize(
    'text',
    [
        'filename,class,xmin,ymin,xmax,ymax\na.jpg,cat,10,12,50,42\n',
        'filename,region_count,region_id,region_shape_attributes,region_attributes\na.jpg,1,0,{},{}\n',
        'image,annotation\na.jpg,a cat on a mat\n',
        'image,segmentation\na.jpg,"[[1, 2, 3, 4, 5, 6]]"\n',
        'class,EncodedPixels\ncat,5 4\n',
        'ImageId,PredictionString\na.jpg,5 4\n',
        '',
    ],
)
def test_other_tables_do_not_fit(text, tmp_path):
    root = labelled(tmp_path, text)
    assert not RleSource.fits(DataFolder(root))
    assert find_source(root, label_format='rle') is None


def test_only_this_format_fits(tmp_path):
    root = labelled(tmp_path, f'{HEAD}\na.jpg,cat,{RUNS}\nb.jpg,cat,{RUNS}\n')
    source = find_source(root, 'mmdet')
    assert (source.name, source.also) == ('rle', [])
    assert not CsvSource.fits(DataFolder(root))


def test_trains(tmp_path):
    root = labelled(tmp_path / 'd', f'{HEAD}\na.jpg,cat,1 1800 1900 50\nb.jpg,cat,1 1800\n')
    cfg, lines = adapt(MASK_RCNN, root, tmp_path / 'work')
    assert '2 images, 1 class (cat), 2 annotations; 1 train, 1 val' in lines[0]
