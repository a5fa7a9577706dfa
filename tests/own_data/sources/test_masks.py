"""Folders of images and masks as people have them, through mmseg's data set and pipeline."""

import json
from pathlib import Path

import numpy as np
import pytest
from own_sets import COLORS, SIZE, UPERNET, adapt, build, mask, mask_labels, mask_set, photo, stripes
from PIL import Image


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
    assert mask_labels(cfg) == [0, 1, 2]
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
    cfg, _ = adapt(UPERNET, mask_set(tmp_path / 'd', values), tmp_path / 'work')
    assert build(cfg).metainfo['classes'] == classes
    assert cfg.model.decode_head.num_classes == len(classes)
    assert mask_labels(cfg) == seen


def test_the_palette_inside_indexed_png_is_for_pictures(tmp_path):
    root = mask_set(tmp_path / 'd', palette=COLORS)
    cfg, _ = adapt(UPERNET, root, tmp_path / 'work')
    assert build(cfg).metainfo['palette'] == COLORS
    assert mask_labels(cfg) == [0, 1, 2]


def test_colour_masks_with_a_palette(tmp_path):
    root = mask_set(tmp_path / 'd', [*COLORS, [155, 155, 155]])
    file = tmp_path / 'names.json'
    file.write_text(json.dumps({'water': COLORS[1], 'building': COLORS[0], 'road': COLORS[2], 'unlabeled': [155] * 3}))
    cfg, lines = adapt(UPERNET, root, tmp_path / 'work', palette=str(file))
    assert build(cfg).metainfo['classes'] == ('water', 'building', 'road')
    assert build(cfg).metainfo['palette'] == [COLORS[1], COLORS[0], COLORS[2]]
    assert mask_labels(cfg) == mask_labels(cfg, 'test') == [1, 0, 2, 255]
    assert 'masks by colour' in lines[0]


def test_colour_masks_without_names_are_classes_by_code(tmp_path):
    root = mask_set(tmp_path / 'd', COLORS)
    cfg, _ = adapt(UPERNET, root, tmp_path / 'work')
    assert build(cfg).metainfo['classes'] == ('#3c1098', '#6ec1e4', '#e2a929')
    # A class file for other colours than those of the masks is said to be so.
    (root / 'classes.json').write_text(json.dumps([{'title': 'road', 'color': '#112233'}]))
    cfg, lines = adapt(UPERNET, root, tmp_path / 'work')
    assert build(cfg).metainfo['classes'] == ('#3c1098', '#6ec1e4', '#e2a929')
    assert 'names the colours of 0% of the mask pixels only' in lines[1]


def test_indexed_and_colour_masks_side_by_side(tmp_path):
    root = mask_set(tmp_path / 'd', COLORS, count=3)
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
    cfg, lines = adapt(UPERNET, mask_set(tmp_path / 'd', [[0, 0, 0], COLORS[2]]), tmp_path / 'work', palette=str(file))
    assert build(cfg).metainfo['classes'] == ('background', 'road')
    assert mask_labels(cfg) == [0, 1]
    assert 'the colour [0, 0, 0] is taken for background' in lines


def test_an_unlabeled_class_of_index_masks_is_ignored(tmp_path):
    root = mask_set(tmp_path / 'd')
    (root / 'classes.json').write_text('["unlabeled", "road", "water"]')
    cfg, _ = adapt(UPERNET, root, tmp_path / 'work')
    assert build(cfg).metainfo['classes'] == ('road', 'water')
    assert mask_labels(cfg) == [255, 0, 1]


def test_names_without_one_for_zero(tmp_path):
    root = mask_set(tmp_path / 'd', (0, 1, 2))
    (root / 'classes.json').write_text('["road", "water"]')
    cfg, lines = adapt(UPERNET, root, tmp_path / 'work')
    assert mask_labels(cfg) == [255, 0, 1]
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


@pytest.mark.parametrize('mode', ['1', 'I;16', 'LA'])
def test_kinds_of_mask_files(mode, tmp_path):
    root = mask_set(tmp_path / 'd')
    for i in range(4):
        array = stripes([0, 1])
        picture = (
            Image.fromarray(array.astype(np.uint16)) if mode == 'I;16' else Image.fromarray(array * 255).convert(mode)
        )
        picture.save(root / f'masks/{i}.png')
    cfg, _ = adapt(UPERNET, root, tmp_path / 'work')
    assert mask_labels(cfg) == [0, 1]


def test_masks_of_16_bits_hold_classes(tmp_path):
    root = mask_set(tmp_path / 'd')
    Image.fromarray(stripes([0, 200]).astype(np.uint16)).save(root / 'masks/0.png')
    with pytest.raises(ValueError, match='masks of 16 bits such as .* must hold classes 0, 1, 2'):
        adapt(UPERNET, root, tmp_path / 'work')
    Image.fromarray(stripes([0, 200]).astype(np.uint16) * 2).save(root / 'masks/0.png')
    with pytest.raises(ValueError, match='0.png holds the value 400; masks are read in 8 bits'):
        adapt(UPERNET, root, tmp_path / 'work')


def test_images_without_mask_are_named(tmp_path):
    root = mask_set(tmp_path / 'd')
    photo(root / 'images/extra.jpg')
    _, lines = adapt(UPERNET, root, tmp_path / 'work')
    assert '1 images have no mask and are left out, such as images/extra.jpg' in lines
