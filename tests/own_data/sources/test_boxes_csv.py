"""Tables of boxes in the forms that people have, read through the public path."""

import csv
import unicodedata
from pathlib import Path
from xml.etree import ElementTree

import pytest
from own_sets import RETINANET, adapt, photo
from PIL import Image

from mmlska.own_data.check import check_folder
from mmlska.own_data.data_folder import DataFolder
from mmlska.own_data.sources import find_source, require_source
from mmlska.own_data.sources.boxes_csv import CsvSource

HEAD = 'filename,width,height,class,xmin,ymin,xmax,ymax'
NOT_USED = 'photo without a label file, not used'
#: In photos of 80 x 60.
CAT = ('cat', [10, 12, 40, 30], 0)


def labelled(root: Path, text: str, *photos: str, name='labels.csv', encoding='utf-8') -> Path:
    for place in photos or ('a.jpg', 'b.jpg'):
        photo(root / place)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(text.encode(encoding))
    return root


def read(root: Path) -> dict:
    """The class, the box and whether it is ignored of each object, by split and photo."""
    labels = require_source(root, 'mmdet', label_format='csv').read()
    return {
        (split, image.entry['file_name']): [
            (labels.classes[a['category_id'] - 1], [round(v, 9) for v in a['bbox']], a['iscrowd'])
            for a in image.annotations
        ]
        for split, images in labels.splits.items()
        for image in images
    }


def notes(root: Path) -> list[str]:
    return require_source(root, 'mmdet', label_format='csv').read().notes


def findings(root: Path, name='csv') -> dict[str, list[str]]:
    return {f.kind: f.places for f in check_folder(str(root), label_format=name).report.findings}


@pytest.mark.parametrize(
    ('head', 'row'),
    [
        (HEAD, 'a.jpg,80,60,cat,10,12,50,42'),
        ('xmax,ymax,xmin,ymin,File Name,Class_Name', '50,42,10,12,a.jpg,cat'),
        (',X-Min,Y-Min,X-Max,Y-Max,label,IMAGE', '0,10,12,50,42,cat,a.jpg'),
        ('img_path,x1,y1,x2,y2,category', '/home/me/imgs/a.jpg,10,12,50,42,cat'),
        ('path,left,top,right,bottom,object', 'C:\\imgs\\a.jpg,10,12,50,42,cat'),
        ('image_id,xtl,ytl,xbr,ybr,type', 'a,10.0,12.0,50.0,42.0,cat'),
        ('photo,x,y,w,h,width,height,name', 'A.JPG,10,12,40,30,80,60,cat'),
        ('image,x,y,width,height,label', 'a.png,10,12,40,30,cat'),
        (
            'label_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name,image_width,image_height',
            'cat,10,12,40,30,a.jpg,80,60',
        ),
        ('image_id,width,height,bbox,class', 'a,80,60,"[10.0, 12.0, 40.0, 30.0]",cat'),
        ('file;class;xmin;ymin;xmax;ymax', 'a.jpg;cat;10;12;50;42'),
        ('sep=;\nfile;class;xmin;ymin;xmax;ymax', 'a.jpg;cat;10;12;50;42'),
        ('file\tclass\txmin\tymin\txmax\tymax', 'a.jpg\tcat\t10\t12\t50\t42'),
        ('"filename","class","xmin","ymin","xmax","ymax"', '"a.jpg","cat","10","12","50","42"\n\n,,,,,'),
        (HEAD, 'a.jpg,-1,,cat,10,12,50,42'),
    ],
)
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
def test_heads(head, row, encoding, tmp_path):
    root = labelled(tmp_path, f'{head}\r\n{row}\r\n', encoding=encoding)
    assert read(root) == {('', 'a.jpg'): [CAT]}
    assert notes(root) == [f'1 x {NOT_USED}: b.jpg']
    report = check_folder(str(root), label_format='csv').report
    assert (report.errors, report.images, report.classes) == (0, 1, {'cat': 1})


def test_several_boxes_and_photos_without_objects(tmp_path):
    rows = 'a.jpg,80,60,cat,10,12,50,42\nb.jpg,80,60,,,,,\nc.jpg,80,60,no finding,nan,NaN,nan,nan\na.jpg,80,60,dog,1.5,2,3,4.25\n'
    root = labelled(tmp_path, f'{HEAD}\n{rows}', 'a.jpg', 'b.jpg', 'c.jpg')
    assert read(root) == {
        ('', 'a.jpg'): [CAT, ('dog', [1.5, 2, 1.5, 2.25], 0)],
        ('', 'b.jpg'): [],
        ('', 'c.jpg'): [],
    }
    assert require_source(root, 'mmdet', label_format='csv').read().classes == ['cat', 'dog']
    assert notes(root) == []


NFD = unicodedata.normalize('NFD', 'Ångström')


@pytest.mark.parametrize(
    'name', ['my photo 1.jpg', '照片 二.JPG', '2024.05.01 12.30.png', 'red, green.jpg', f'{NFD}.jpg']
)
def test_names(name, tmp_path):
    written = unicodedata.normalize('NFC', name)
    rows = f'"{written}",1.5,cat,10,12,50,42\n"{Path(written).stem}",1.5,dog,1,2,5,6\n'
    root = labelled(tmp_path / 'my data', f'file,score,class,xmin,ymin,xmax,ymax\n{rows}', f'Bilder/{name}')
    assert read(root) == {('', f'Bilder/{name}'): [CAT, ('dog', [1, 2, 4, 4], 0)]}


def test_without_classes(tmp_path):
    root = labelled(tmp_path, 'image_id,bbox\na,"[10, 12, 40, 30]"\nb,[]\n')
    assert read(root) == {('', 'a.jpg'): [('object', *CAT[1:])], ('', 'b.jpg'): []}
    assert notes(root) == ['1 x table without a column of classes; all objects are called object: labels.csv']


@pytest.mark.parametrize(
    ('rows', 'wanted'),
    [
        ('imgs/a.jpg,10,12,50,42,cat\nimgs/b.jpg,,,,,\n', {('', 'a.jpg'): [CAT], ('', 'b.jpg'): []}),
        ('imgs/b.jpg,,,,,\nimgs/a.jpg,10,12,50,42,cat\n', {('', 'a.jpg'): [CAT], ('', 'b.jpg'): []}),
        (
            'TRAIN,gs://x/a.jpg,cat,0.125,0.2,,,0.625,0.7,,\nTEST,gs://x/b.jpg,,,,,,,,,\n',
            {('train', 'a.jpg'): [CAT], ('test', 'b.jpg'): []},
        ),
        (
            'validation,gs://x/a.jpg,cat,0.125,0.2,.625,.2,0.625,0.7,.125,.7\nUNASSIGNED,gs://x/b.jpg,cat,0,0,,,1,1\n',
            {('val', 'a.jpg'): [CAT], ('', 'b.jpg'): [('cat', [0, 0, 80, 60], 0)]},
        ),
        ('gs://x/a.jpg,cat,0.125,0.2,,,0.625,0.7,,\n', {('', 'a.jpg'): [CAT]}),
    ],
)
def test_without_a_head(rows, wanted, tmp_path):
    assert read(labelled(tmp_path, rows)) == wanted


def test_open_images(tmp_path):
    head = 'ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsGroupOf'
    rows = 'a,xclick,/m/0cat,1,0.125,0.625,0.2,0.7,1,0\na,xclick,/m/0cat,1,0,1,0,1,0,1\n'
    root = labelled(tmp_path, f'{head}\n{rows}', 'train/a.jpg', name='train-annotations-bbox.csv')
    (root / 'class-descriptions.csv').write_text('/m/0cat,Cat\n')
    assert read(root) == {('train', 'train/a.jpg'): [('/m/0cat', CAT[1], 0), ('/m/0cat', [0, 0, 80, 60], 1)]}


@pytest.mark.parametrize(
    ('size', 'wanted'), [('60,80', [6, 8, 30, 40]), ('80,60', [8, 6, 40, 30]), (',', [6, 8, 30, 40])]
)
def test_fractions_of_photos_that_exif_turns(size, wanted, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(tmp_path / 'a.jpg', exif=exif)  # stored as 80 x 60
    (tmp_path / 'l.csv').write_text(f'{HEAD}\na.jpg,{size},cat,0.1,0.1,0.6,0.6\n')
    assert read(tmp_path) == {('', 'a.jpg'): [('cat', wanted, 0)]}


def test_pixels_among_fractions(tmp_path):
    rows = ''.join(f'a.jpg,80,60,cat,0.0{i},0.1,0.5,1.01\n' for i in range(1, 10))
    root = labelled(tmp_path, f'{HEAD}\n{rows}b.jpg,80,60,cat,10,12,50,42\n')
    assert len(read(root)['', 'a.jpg']) == 9
    assert ('', 'b.jpg') not in read(root)
    assert findings(root)['annotation that can not be read'] == [
        'labels.csv line 11: 50 is no fraction of the photo, as the others are'
    ]
    # Zeros and ones alone are pixels.
    labelled(tmp_path / 'e', f'{HEAD}\na.jpg,80,60,cat,0,0,1,1\n')
    assert read(tmp_path / 'e') == {('', 'a.jpg'): [('cat', [0, 0, 1, 1], 0)]}


def test_swapped_corners(tmp_path):
    root = labelled(tmp_path, f'{HEAD}\na.jpg,80,60,cat,50,12,10,42\n')
    assert read(root) == {('', 'a.jpg'): [CAT]}
    kind = 'corners in the wrong order, put right; widths and heights need a head with x,y,width,height'
    assert findings(root)[kind] == ['labels.csv line 2']


def row(name: str) -> str:
    return f'{name},80,60,cat,10,12,50,42\n'


def test_splits_by_the_names_of_tables(tmp_path):
    root = labelled(tmp_path, f'{HEAD}\n{row("1.jpg")}', 'images/train/1.jpg', 'images/test/1.jpg', 'images/2.jpg')
    (root / 'labels.csv').rename(root / 'train_labels.csv')
    (root / 'test_labels.csv').write_text(f'{HEAD}\n{row("1.jpg")}{row("2.jpg")}')
    others = {
        'results.csv': 'epoch,loss\n1,2\n',
        'class_dict.csv': 'name,r,g,b\ncat,1,2,3\n',
        'classes.csv': 'cat,0\n',
        'empty.csv': '',
    }
    for name, text in others.items():
        (root / name).write_text(text)
    split = {
        ('train', 'images/train/1.jpg'): [CAT],
        ('test', 'images/test/1.jpg'): [CAT],
        ('test', 'images/2.jpg'): [CAT],
    }
    assert read(root) == split
    assert notes(root) == []
    # A table of all names the same photos again; '1.jpg' may be two.
    (root / 'all_labels.csv').write_text(f'{HEAD}\n{row("2.jpg")}{row("1.jpg")}{row("train/1.jpg")}')
    assert read(root) == split
    found = findings(root)
    assert found['object written twice, read once'] == ['all_labels.csv line 2', 'all_labels.csv line 4']
    assert found['row that fits two photos'] == ['all_labels.csv: images/test/1.jpg or images/train/1.jpg']


def test_splits_by_a_column_and_by_folders(tmp_path):
    rows = 'a.jpg,cat,10,12,50,42,VALID\nb.jpg,cat,10,12,50,42,train\nc.jpg,cat,10,12,50,42,3\ntrain/d.jpg,cat,10,12,50,42,\n'
    root = labelled(tmp_path, f'file,class,xmin,ymin,xmax,ymax,Fold\n{rows}', 'a.jpg', 'b.jpg', 'c.jpg', 'train/d.jpg')
    assert list(read(root)) == [('val', 'a.jpg'), ('train', 'b.jpg'), ('train', 'train/d.jpg'), ('', 'c.jpg')]


def test_roboflow_has_a_table_in_each_folder(tmp_path):
    for split in ('train', 'valid'):
        labelled(tmp_path, f'{HEAD}\n1.jpg,80,60,cat,10,12,50,42\n', f'{split}/1.jpg', name=f'{split}/_annotations.csv')
    assert read(tmp_path) == {('train', 'train/1.jpg'): [CAT], ('val', 'valid/1.jpg'): [CAT]}


def test_a_photo_in_two_splits_stays_in_the_first(tmp_path):
    root = labelled(tmp_path, f'{HEAD}\na.jpg,80,60,cat,10,12,50,42\n', name='a_train.csv')
    (root / 'b_val.csv').write_text(
        f'{HEAD}\na.jpg,80,60,dog,1,2,3,4\na.jpg,80,60,dog,1,2,3,9\nb.jpg,80,60,dog,1,2,3,4\n'
    )
    assert read(root) == {('train', 'a.jpg'): [CAT], ('val', 'b.jpg'): [('dog', [1, 2, 2, 2], 0)]}
    assert findings(root)['photo in a second split'] == ['a.jpg (val in b_val.csv, kept in train)']


@pytest.mark.parametrize(
    ('row', 'reason'),
    [
        ('a.jpg,80,60,cat,10,12,50,', "'' is no number"),
        ('a.jpg,80,60,cat,10,12,50,inf', "'inf' is no number"),
        ('a.jpg,80,60,cat,ten,12,50,42', "'ten' is no number"),
        ('a.jpg,80,60,cat,10,12', '6 cells, not 8; put cells with a comma into quotes'),
        ('a, b.jpg,80,60,cat,10,12,50,42', '9 cells, not 8; put cells with a comma into quotes'),
        ('a.jpg,80,60,,10,12,50,42', 'a box without a class'),
        (',80,60,cat,10,12,50,42', 'no name of a photo'),
    ],
)
def test_broken_rows(row, reason, tmp_path):
    root = labelled(tmp_path, f'{HEAD}\n{row}\nb.jpg,80,60,cat,10,12,50,42\n')
    assert read(root) == {('', 'b.jpg'): [CAT]}  # a photo with a broken row alone is not background
    assert findings(root)['annotation that can not be read'] == [f'labels.csv line 2: {reason}']
    assert notes(root)[0] == f'left out: 1 x annotation that can not be read: labels.csv line 2: {reason}'


def test_broken_boxes_of_a_column(tmp_path):
    root = labelled(
        tmp_path, 'image_id,bbox,class\na,"[10, 12, 40, 30]",cat\na,"[1, 2, 3]",cat\na,"[1, 2, 3, x]",cat\n'
    )
    assert read(root) == {('', 'a.jpg'): [CAT]}
    assert findings(root)['annotation that can not be read'] == [
        'labels.csv line 3: 3 numbers instead of x, y, width and height',
        "labels.csv line 4: 'x' is no number",
    ]


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (b'\na.jpg,80,60,cat,10,12,50,42\n\xe9.jpg,80,60,cat,1,2,3,4\n', 'is no text in UTF-8'),
        (b'\n"a.jpg,80,60,cat,10,12,50,42\nb.jpg,80,60,cat,1,2,3,4\n', 'is no valid table: unexpected end of data'),
        (b'\na.jpg,80,60,cat,10,12,50,42\0\n', 'holds a zero byte'),
        (b'\n', 'no label file has an object'),
        (b'\na.jpg,80,60,,,,,\n', 'no label file has an object'),
    ],
)
def test_tables_that_can_not_be_read(content, reason, tmp_path):
    root = labelled(tmp_path, '')
    (root / 'labels.csv').write_bytes(HEAD.encode() + content)
    with pytest.raises(ValueError, match=f'labels.csv.*{reason}|{reason}.*labels.csv') as error:
        read(root)
    assert '\n' not in str(error.value)
    (root / 'more.csv').write_text(f'{HEAD}\nb.jpg,80,60,cat,10,12,50,42\n')
    assert read(root)['', 'b.jpg'] == [CAT]
    assert [kind for kind in findings(root) if 'can not be read' in kind] == (
        ['label file that can not be read'] if 'object' not in reason else []
    )


@pytest.mark.parametrize('fractions', [False, True])
def test_missing_and_broken_photos(fractions, tmp_path):
    box = '.1,.1,.5,.5' if fractions else '10,12,50,42'
    root = labelled(tmp_path, f'{HEAD}\na.jpg,80,60,cat,{box}\n../no.jpg,80,60,cat,{box}\n')
    with pytest.raises(FileNotFoundError, match=r'names 1 of 2 images that are not below .*: \.\./no\.jpg'):
        read(root)
    assert findings(root)['missing image'] == ['../no.jpg']
    (root / 'labels.csv').write_text(f'{HEAD}\na.jpg,80,60,cat,{box}\nb.jpg,80,60,cat,{box}\n')
    (root / 'b.jpg').write_bytes(b'no photo')
    assert findings(root)['image that can not be decoded'] == ['b.jpg']


def test_what_is_odd_is_left_to_the_shared_check(tmp_path):
    rows = ''.join(
        f'a.jpg,80,{60 + 40 * (i == 0)},cat,{box}\n'
        for i, box in enumerate(('10,12,50,42', '200,10,220,20', '5,5,5,20'))
    )
    root = labelled(tmp_path, f'{HEAD}\n{rows}')
    found = findings(root)
    assert found['box outside the image'] == ['labels.csv line 3']
    assert found['box of zero area'] == ['labels.csv line 4']
    assert found['size in the labels unlike the image'] == ['a.jpg (80x100, not 80x60)']


@pytest.mark.parametrize(
    'text',
    [
        'filename,xmin,ymin,xmax,class\na.jpg,1,2,3,cat\n',
        'class,xmin,ymin,xmax,ymax\ncat,1,2,3,4\n',
        'filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\na.jpg,1,{},0,0,{},{}\n',
        'ImageId,EncodedPixels\na.jpg,1 2\n',
        'cat,10,12,50,42,a.jpg\n',
        'a.jpg,cat,10,12,50,42\n',
        'a.jpg,0.1,0.2,0.3,0.4,0.5,cat\n',
        '"',
        '',
    ],
)
def test_other_tables_do_not_fit(text, tmp_path):
    root = labelled(tmp_path, text)
    assert not CsvSource.fits(DataFolder(root))
    assert find_source(root, label_format='csv') is None


def test_trains(tmp_path):
    rows = ''.join(f'{name}.jpg,80,60,cat,10,12,50,42\n' for name in 'ab')
    cfg, lines = adapt(RETINANET, labelled(tmp_path / 'd', f'{HEAD}\n{rows}'), tmp_path / 'work')
    assert '2 images, 1 class (cat), 2 annotations; 1 train, 1 val' in lines[0]


def test_raccoons(shared_data):
    root = shared_data('raccoon_voc').resolve()
    labels = require_source(root, 'mmdet', label_format='csv').read()
    found = {
        Path(image.entry['file_name']).stem: sorted(a['bbox'] for a in image.annotations)
        for images in labels.splits.values()
        for image in images
    }
    wanted = {}
    for path in (root / 'annotations').iterdir():
        boxes = ElementTree.parse(path).iter('bndbox')
        corners = [[float(box.findtext(key)) for key in ('xmin', 'ymin', 'xmax', 'ymax')] for box in boxes]
        wanted[path.stem] = sorted([x, y, right - x, bottom - y] for x, y, right, bottom in corners)
    twice = wanted.keys() - found.keys()
    assert len(twice) == 4  # photos that are there under another name too
    assert found == {name: boxes for name, boxes in wanted.items() if name not in twice}
    with open(root / 'data/raccoon_labels.csv', newline='') as file:
        assert sum(map(len, wanted.values())) == len(list(csv.DictReader(file)))
    assert labels.classes == ['raccoon']
