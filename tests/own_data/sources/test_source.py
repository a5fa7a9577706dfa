"""Another format of labels is one small class: from it follow checks, pictures, repaired copies, the split and the config."""

import csv
from pathlib import Path

import pytest
from own_sets import RETINANET, UPERNET, adapt, build, instances, mask, mask_labels, photo, stripes

from mmlska.own_data.annotations import AnnotationFile
from mmlska.own_data.check import check_folder
from mmlska.own_data.contact_sheet import write_sheet
from mmlska.own_data.data_folder import DataFolder
from mmlska.own_data.mask_files import MaskPair
from mmlska.own_data.repair import write_repaired
from mmlska.own_data.sources import SOURCES, find_source
from mmlska.own_data.sources.instances import InstanceSource
from mmlska.own_data.sources.masks import MaskSource


class CsvSource(InstanceSource):
    """boxes.csv with a box on each line: the file of its image, a class, left, top, width and height."""

    name = 'boxes'

    @classmethod
    def fits(cls, folder: DataFolder) -> bool:
        return (folder.root / 'boxes.csv').is_file()

    @classmethod
    def find(cls, folder: DataFolder, palette: str | None = None) -> InstanceSource | None:
        if not cls.fits(folder):
            return None
        root, file = folder.root, folder.root / 'boxes.csv'
        rows = list(csv.reader(file.open(encoding='utf-8')))
        names, classes = (list(dict.fromkeys(row[column] for row in rows)) for column in (0, 1))
        content = {
            'images': [{'id': i, 'file_name': name} for i, name in enumerate(names)],
            'annotations': [
                {'image_id': names.index(name), 'category_id': classes.index(kind), 'bbox': [float(v) for v in box]}
                for name, kind, *box in rows
            ],
            'categories': [{'id': i, 'name': name} for i, name in enumerate(classes)],
        }
        found = {name: root / name for name in names if (root / name).is_file()}
        return cls(root, [AnnotationFile(file, None, content, found)])


class TwinSource(MaskSource):
    """A mask of the name 1.classes.bmp beside each photo 1.jpg."""

    name = 'twins'

    @classmethod
    def fits(cls, folder: DataFolder) -> bool:
        return any(path.name.endswith('.classes.bmp') for path in folder.files)

    @classmethod
    def find(cls, folder: DataFolder, palette: str | None = None) -> MaskSource | None:
        files = [path for path in folder.files if path.name.endswith('.classes.bmp')]
        masks = [(path.with_suffix('').with_suffix('.jpg'), path) for path in files]
        return (
            cls(folder.root, [MaskPair(image, mask, None) for image, mask in masks], palette=palette) if masks else None
        )


@pytest.fixture(autouse=True)
def formats():
    SOURCES.extend([CsvSource, TwinSource])
    yield
    del SOURCES[-2:]


def boxes(root: Path) -> Path:
    for i in range(5):
        photo(root / f'{i}.jpg')
    rows = [f'{i}.jpg,{"dog" if i % 2 else "cat"},10,20,30,25\n' for i in range(5)]
    (root / 'boxes.csv').write_text(
        ''.join([*rows, '0.jpg,dog,70,50,40,40\n', '1.jpg,cat,200,0,9,9\n', 'no.jpg,cat,1,1,9,9\n'])
    )
    return root


def twins(root: Path) -> Path:
    for i in range(5):
        photo(root / f'{i}.jpg')
        mask(root / f'{i}.classes.bmp', stripes([0, 1, 2]))
    return root


def test_a_new_format_of_boxes_is_recognised_checked_drawn_and_repaired(tmp_path):
    root = boxes(tmp_path / 'd')
    assert isinstance(find_source(root, 'mmdet'), CsvSource)
    assert find_source(root, 'mmseg', label_format='masks') is None
    checked = check_folder(str(root))
    assert checked.report.classes == {'cat': 3, 'dog': 3}
    found = {f.kind: f.places for f in checked.report.findings}
    assert found['missing image'] == ['no.jpg']
    assert found['box outside the image'] == ['1.jpg (annotation at place 6)']
    assert found['box partly outside the image'] == ['0.jpg (annotation at place 5)']
    assert write_sheet(str(tmp_path / 'sheet.png'), checked.source) == 5
    lines = write_repaired(str(tmp_path / 'new'), checked.source)
    assert lines == [
        'instances_all.json: 5 images, 6 annotations',
        '1 of 6 boxes pass a border of their photos and are cut there: images/0.jpg',
        'left out: 1 images; annotations: 1 box outside the image, 1 unknown image id',
    ]
    assert check_folder(str(tmp_path / 'new')).report.errors == 0


def test_a_new_format_of_boxes_is_trained_on(tmp_path):
    root = boxes(tmp_path / 'd')
    with pytest.raises(FileNotFoundError, match='boxes.csv names 1 of 6 images that are not below .*: no.jpg'):
        adapt(RETINANET, root, tmp_path / 'work')
    photo(root / 'no.jpg')
    cfg, lines = adapt(RETINANET, root, tmp_path / 'work')
    assert '6 images, 2 classes (cat, dog), 7 annotations; 5 train, 1 val' in lines[0]
    assert '1 annotations left out: 1 box outside the image' in lines[1]
    assert cfg.model.bbox_head.num_classes == 2
    labels = {**instances(cfg, 'train'), **instances(cfg, 'val')}
    assert labels['0.jpg'] == [(0, [10, 20, 40, 45], 0), (1, [70, 50, 80, 60], 0)]


def test_a_new_format_of_masks_is_checked_and_trained_on(tmp_path):
    root = twins(tmp_path / 'd')
    checked = check_folder(str(root))
    assert isinstance(checked.source, TwinSource)
    assert checked.report.findings == []
    assert list(checked.report.classes) == ['class_0', 'class_1', 'class_2']
    assert write_sheet(str(tmp_path / 'sheet.png'), checked.source) == 5
    assert write_repaired(str(tmp_path / 'new'), checked.source)[0] == '5 pairs of image and mask, 3 classes'
    cfg, lines = adapt(UPERNET, root, tmp_path / 'work')
    assert '5 images, 3 classes (class_0, class_1, class_2), index masks; 4 train, 1 val' in lines[0]
    assert mask_labels(cfg) == [0, 1, 2]
    assert len(build(cfg)) == 4
