"""Training a segmentor on a folder of one's own: layouts, kinds of masks and palettes through mmseg's data set and pipeline."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmlska.own_data.palettes import read_palette

sys.path.insert(0, str(Path(__file__).parent))
from own_sets import MASK_RCNN, SIZE, UPERNET, adapt, build, mask, overlay, photo, simple  # noqa: E402

COLORS = [[60, 16, 152], [226, 169, 41], [110, 193, 228]]


def stripes(values, size=SIZE) -> np.ndarray:
    """A mask with one upright stripe of each value."""
    columns = np.linspace(0, len(values) - 1e-6, size[0]).astype(int)
    return np.broadcast_to(np.asarray(values, np.uint8)[columns], (size[1], size[0], *np.shape(values)[1:])).copy()


def folder(root: Path, values=(0, 1, 2), count=4, mode=None, palette=None) -> Path:
    """images/ and masks/ with stripes of some values."""
    for i in range(count):
        photo(root / f'images/{i}.jpg')
        mask(root / f'masks/{i}.png', stripes(values), mode, palette)
    return root


def labels(cfg, split='val') -> list[int]:
    """The labels from left to right that the data set hands out for its first image."""
    row = build(cfg, split)[0]['data_samples'].gt_sem_seg.data.numpy()[0, 30]
    return [int(v) for i, v in enumerate(row) if i == 0 or v != row[i - 1]]


def test_classes_reach_every_part_of_the_config(tmp_path):
    root = folder(tmp_path / 'my photos')
    (root / 'classes.txt').write_text('Straße\n道路\nwater\n', encoding='utf-8')
    cfg, lines = adapt(UPERNET, root, tmp_path / 'work')
    assert cfg.model.decode_head.num_classes == cfg.model.auxiliary_head.num_classes == 3
    for split in ('train', 'val', 'test'):
        assert build(cfg, split).metainfo['classes'] == ('Straße', '道路', 'water')
        assert len(build(cfg, split).metainfo['palette']) == 3
    assert '4 images, 3 classes (Straße, 道路, water), index masks; 3 train, 1 val' in lines[0]
    assert labels(cfg) == [0, 1, 2]


def layout_mmseg(root):
    for split, count in (('train', 3), ('val', 2)):
        for i in range(count):
            photo(root / f'img_dir/{split}/{i}.jpg')
            mask(root / f'ann_dir/{split}/{i}.png', stripes([0, 1, 2]))


def layout_ade(root):
    for split, count in (('training', 3), ('validation', 2)):
        for i in range(count):
            photo(root / f'images/{split}/{i}.png')
            mask(root / f'annotations/{split}/{i}.png', stripes([0, 1, 2]))


def layout_one_folder(root):
    for i in range(5):
        photo(root / f'{i}.jpg')
        mask(root / f'{i}.png', stripes([0, 1, 2]))


def layout_endings(root):
    for i in range(5):
        photo(root / f'{i}.{"jpg" if i % 2 else "jpeg"}')
        mask(root / f'{i}_mask.png', stripes([0, 1, 2]))


def layout_cityscapes(root):
    for split, count in (('train', 3), ('val', 2)):
        for i in range(count):
            photo(root / f'leftImg8bit/{split}/ulm {i % 2}/ulm_{i}_leftImg8bit.png')
            mask(root / f'gtFine/{split}/ulm {i % 2}/ulm_{i}_gtFine_labelTrainIds.png', stripes([0, 1, 2]))


def layout_tiles(root):
    for i in range(5):
        photo(root / f'Tile {i % 2}/images/{i // 2}.jpg')
        mask(root / f'Tile {i % 2}/masks/{i // 2}.png', stripes([0, 1, 2]))


def layout_voc(root):
    for i in range(5):
        photo(root / f'JPEGImages/{i}.jpg')
        mask(root / f'SegmentationClass/{i}.png', stripes([0, 1, 2]))
        mask(root / f'SegmentationObject/{i}.png', stripes([0, 1, 2, 3]))


def layout_vistas(root):
    for split, count in (('training', 3), ('validation', 2)):
        for i in range(count):
            photo(root / f'{split}/images/{i}.jpg')
            mask(root / f'{split}/labels/{i}.png', stripes([0, 1, 2]))
            mask(root / f'{split}/instances/{i}.png', stripes([0, 1, 2, 3]))


LAYOUTS = [layout_mmseg, layout_ade, layout_one_folder, layout_endings, layout_cityscapes, layout_tiles]


@pytest.mark.parametrize('layout', [*LAYOUTS, layout_voc, layout_vistas])
def test_layouts(layout, tmp_path):
    root = tmp_path / 'my data'
    layout(root)
    before = {path: path.read_bytes() for path in root.rglob('*') if path.is_file()}
    cfg, _ = adapt(UPERNET, root, tmp_path / 'work', val_fraction=0.4)
    built = {split: build(cfg, split) for split in ('train', 'val')}
    assert [len(built['train']), len(built['val'])] == [3, 2]
    paths = [
        (info['img_path'], info['seg_map_path']) for d in built.values() for info in map(d.get_data_info, range(len(d)))
    ]
    assert len(set(paths)) == 5
    assert all(Path(path).is_file() for pair in paths for path in pair)
    if layout in (layout_mmseg, layout_ade, layout_cityscapes):
        val = [built['val'].get_data_info(i)['img_path'] for i in range(2)]
        assert all('val' in path for path in val)
    assert labels(cfg) == [0, 1, 2]
    assert {path: path.read_bytes() for path in root.rglob('*') if path.is_file()} == before


@pytest.mark.parametrize(
    ('values', 'classes', 'seen'),
    [
        ((0, 1, 2, 255), ('class_0', 'class_1', 'class_2'), [0, 1, 2, 255]),
        ((0, 1), ('background', 'foreground'), [0, 1]),
        ((0, 255), ('background', 'foreground'), [0, 1]),
        ((1, 2, 3), ('class_1', 'class_2', 'class_3'), [0, 1, 2]),
        ((0, 100, 200), ('#000000', '#646464', '#c8c8c8'), [0, 1, 2]),
        ((0, 1, 3), ('class_0', 'class_1', 'class_2', 'class_3'), [0, 1, 3]),
    ],
)
def test_index_masks(values, classes, seen, tmp_path):
    cfg, _ = adapt(UPERNET, folder(tmp_path / 'd', values), tmp_path / 'work')
    assert build(cfg).metainfo['classes'] == classes
    assert cfg.model.decode_head.num_classes == len(classes)
    assert labels(cfg) == seen


def test_the_palette_inside_indexed_png_is_for_pictures(tmp_path):
    root = folder(tmp_path / 'd', palette=COLORS)
    cfg, _ = adapt(UPERNET, root, tmp_path / 'work')
    assert build(cfg).metainfo['palette'] == COLORS
    assert labels(cfg) == [0, 1, 2]


def test_colour_masks_with_a_palette(tmp_path):
    root = folder(tmp_path / 'd', [*COLORS, [155, 155, 155]])
    file = tmp_path / 'names.json'
    file.write_text(json.dumps({'water': COLORS[1], 'building': COLORS[0], 'road': COLORS[2], 'unlabeled': [155] * 3}))
    cfg, lines = adapt(UPERNET, root, tmp_path / 'work', palette=str(file))
    assert build(cfg).metainfo['classes'] == ('water', 'building', 'road')
    assert build(cfg).metainfo['palette'] == [COLORS[1], COLORS[0], COLORS[2]]
    assert labels(cfg) == labels(cfg, 'test') == [1, 0, 2, 255]
    assert 'masks by colour' in lines[0]


def test_colour_masks_without_names_are_classes_by_code(tmp_path):
    root = folder(tmp_path / 'd', COLORS)
    cfg, _ = adapt(UPERNET, root, tmp_path / 'work')
    assert build(cfg).metainfo['classes'] == ('#3c1098', '#6ec1e4', '#e2a929')
    # A class file for other colours than those of the masks is said to be so.
    (root / 'classes.json').write_text(json.dumps([{'title': 'road', 'color': '#112233'}]))
    cfg, lines = adapt(UPERNET, root, tmp_path / 'work')
    assert build(cfg).metainfo['classes'] == ('#3c1098', '#6ec1e4', '#e2a929')
    assert 'names the colours of 0% of the mask pixels only' in lines[1]


def test_indexed_and_colour_masks_side_by_side(tmp_path):
    root = folder(tmp_path / 'd', COLORS, count=3)
    photo(root / 'images/9.jpg')
    mask(root / 'masks/9.png', stripes([0, 1, 2]), palette=COLORS)
    cfg, _ = adapt(UPERNET, root, tmp_path / 'work')
    for split in ('train', 'val'):
        built = build(cfg, split)
        for i in range(len(built)):
            assert set(np.unique(built[i]['data_samples'].gt_sem_seg.data)) <= {0, 1, 2}


def test_one_named_colour_and_a_background(tmp_path):
    file = tmp_path / 'one.txt'
    file.write_text('road 110 193 228\n')
    cfg, lines = adapt(UPERNET, folder(tmp_path / 'd', [[0, 0, 0], COLORS[2]]), tmp_path / 'work', palette=str(file))
    assert build(cfg).metainfo['classes'] == ('background', 'road')
    assert labels(cfg) == [0, 1]
    assert 'the colour [0, 0, 0] is taken for background' in lines


def test_an_unlabeled_class_of_index_masks_is_ignored(tmp_path):
    root = folder(tmp_path / 'd')
    (root / 'classes.json').write_text('["unlabeled", "road", "water"]')
    cfg, _ = adapt(UPERNET, root, tmp_path / 'work')
    assert build(cfg).metainfo['classes'] == ('road', 'water')
    assert labels(cfg) == [255, 0, 1]


def test_names_without_one_for_zero(tmp_path):
    root = folder(tmp_path / 'd', (0, 1, 2))
    (root / 'classes.json').write_text('["road", "water"]')
    cfg, lines = adapt(UPERNET, root, tmp_path / 'work')
    assert labels(cfg) == [255, 0, 1]
    assert '0 in the masks is unlabelled and class 1 the first one' in lines


def test_kinds_of_photos(tmp_path):
    root = tmp_path / 'd'
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(root / 'images/gray.png', mode='L')
    photo(root / 'images/alpha.png', mode='RGBA')
    Image.fromarray((np.arange(4800).reshape(60, 80) * 13).astype(np.uint16)).save(root / 'images/deep.png')
    photo(root / 'images/turned.jpg', exif=exif)
    for name in ('gray', 'alpha', 'deep', 'turned'):
        mask(root / f'masks/{name}.png', stripes([0, 1, 2], (60, 80) if name == 'turned' else SIZE))
    cfg, _ = adapt(UPERNET, root, tmp_path / 'work', val_fraction=0.5)
    for split in ('train', 'val'):
        built = build(cfg, split)
        for i in range(len(built)):
            sample = built[i]
            assert sample['inputs'].shape[0] == 3
            assert sample['inputs'].float().std() > 5
    # The mask of a photo as it is stored.
    mask(root / 'masks/turned.png', stripes([0, 1, 2], SIZE))
    cfg, lines = adapt(UPERNET, root, tmp_path / 'work', val_fraction=0.5)
    assert any('EXIF orientation is ignored' in line for line in lines)
    for split in ('train', 'val'):
        built = build(cfg, split)
        assert all(built[i]['data_samples'].ori_shape == (60, 80) for i in range(2))


def test_pictures_show_photos_as_they_were_read(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    root = folder(tmp_path / 'd', count=2)
    for i in range(2):
        photo(root / f'images/{i}.jpg', exif=exif)
    cfg, _ = adapt(UPERNET, root, tmp_path / 'work')
    assert overlay(cfg, tmp_path / 'show').shape == (60, 160, 3)


@pytest.mark.parametrize('mode', ['1', 'I;16', 'LA'])
def test_kinds_of_mask_files(mode, tmp_path):
    root = folder(tmp_path / 'd')
    for i in range(4):
        array = stripes([0, 1])
        picture = (
            Image.fromarray(array.astype(np.uint16)) if mode == 'I;16' else Image.fromarray(array * 255).convert(mode)
        )
        picture.save(root / f'masks/{i}.png')
    cfg, _ = adapt(UPERNET, root, tmp_path / 'work')
    assert labels(cfg) == [0, 1]


def test_masks_of_16_bits_hold_classes(tmp_path):
    root = folder(tmp_path / 'd')
    Image.fromarray(stripes([0, 200]).astype(np.uint16)).save(root / 'masks/0.png')
    with pytest.raises(ValueError, match='masks of 16 bits such as .* must hold classes 0, 1, 2'):
        adapt(UPERNET, root, tmp_path / 'work')
    Image.fromarray(stripes([0, 200]).astype(np.uint16) * 2).save(root / 'masks/0.png')
    with pytest.raises(ValueError, match='0.png holds the value 400; masks are read in 8 bits'):
        adapt(UPERNET, root, tmp_path / 'work')


def test_images_without_mask_are_named(tmp_path):
    root = folder(tmp_path / 'd')
    photo(root / 'images/extra.jpg')
    _, lines = adapt(UPERNET, root, tmp_path / 'work')
    assert '1 images have no mask and are left out, such as images/extra.jpg' in lines


PALETTES = {
    'a.json': '{"road": [1, 2, 3], "lake": "#040506"}',
    'b.json': '{"classes": [{"title": "road", "color": "#010203"}, {"name": "lake", "color": [4, 5, 6]}]}',
    'c.txt': 'road 1 2 3\nlake 4 5 6\n',
    'd.csv': 'name,r,g,b\nroad,1,2,3\nlake,4,5,6\n',
    'e.txt': '# label:color_rgb:parts:actions\nroad:1,2,3::\nlake:4,5,6::\n',
    'f.txt': '1 2 3 road\n4 5 6 lake\n',
}


@pytest.mark.parametrize('name', PALETTES)
def test_palette_files(name, tmp_path):
    (tmp_path / name).write_text(PALETTES[name])
    found = read_palette(tmp_path / name)
    assert [(c.name, c.color) for c in found] == [('road', (1, 2, 3)), ('lake', (4, 5, 6))]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{"a": [1, 2]}', 'is not understood'),
        ('{"a": "red"}', "'red' is no colour such as #6EC1E4"),
        ('{"a": [1, 2, 300]}', 'no colour of three numbers from 0 to 255'),
        ('{"a": [1, 2, 3], "A ": [1, 2, 4]}', 'has the name a twice'),
        ('{"a": [1, 2, 3], "b": [1, 2, 3]}', 'has the colour .* twice'),
        ('[', 'is not understood'),
    ],
)
def test_wrong_palettes(content, message, tmp_path):
    (tmp_path / 'p.json').write_text(content)
    with pytest.raises(ValueError, match=message):
        read_palette(tmp_path / 'p.json')


def test_errors_name_the_file_and_the_way_out(tmp_path):
    empty = tmp_path / 'empty'
    empty.mkdir()
    with pytest.raises(ValueError, match='no pair of image and mask in .*: put images into images/'):
        adapt(UPERNET, empty, tmp_path / 'work')
    with pytest.raises(ValueError, match='no pair of image and mask .* COCO files are for detectors'):
        adapt(UPERNET, simple(tmp_path / 'coco'), tmp_path / 'work')
    root = folder(tmp_path / 'd')
    with pytest.raises(ValueError, match='a segmentor config reads folders of masks'):
        adapt(MASK_RCNN, root, tmp_path / 'work')
    with pytest.raises(FileNotFoundError, match='palette nothing.json does not exist'):
        adapt(UPERNET, root, tmp_path / 'work', palette='nothing.json')
    (tmp_path / 'p.json').write_text('{"a": [9, 9, 9], "b": [8, 8, 8]}')
    with pytest.raises(ValueError, match='no pixel of the masks has a colour of the palette'):
        adapt(UPERNET, folder(tmp_path / 'c', COLORS), tmp_path / 'work', palette=str(tmp_path / 'p.json'))
    (root / 'classes.json').write_text('["a"]')
    with pytest.raises(ValueError, match='0.png holds the value 2 but there are 1 class names, for 0 to 0'):
        adapt(UPERNET, root, tmp_path / 'work')
    (root / 'classes.json').unlink()
    mask(root / 'masks/1.png', stripes([0, 1], (40, 60)))
    with pytest.raises(ValueError, match='1.png is 40x60 and its image 80x60, like 1 of 4; write a corrected copy'):
        adapt(UPERNET, root, tmp_path / 'work')
    (root / 'masks/1.png').write_bytes(b'x')
    with pytest.raises(ValueError, match='1.png is not an image that can be read; save it as PNG'):
        adapt(UPERNET, root, tmp_path / 'work')
    with pytest.raises(ValueError, match='the masks hold one class'):
        adapt(UPERNET, folder(tmp_path / 'e', (0,)), tmp_path / 'work')
    for i in range(2):
        photo(tmp_path / f'f/images/{i}.jpg')
        photo(tmp_path / f'f/masks/{i}.jpg')
    with pytest.raises(ValueError, match='they are photos, or saved as JPEG; save them as PNG, or give --palette'):
        adapt(UPERNET, tmp_path / 'f', tmp_path / 'work')
