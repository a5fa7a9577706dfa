"""CVAT files for the tests."""

from own_sets import photo
from pycocotools import mask as coco_mask

from mmlska.own_data.check import check_folder
from mmlska.own_data.sources import require_source

LABELS = (
    '<labels><label><name>cat</name></label><label><name>红 狗</name></label><label><name>cow</name></label></labels>'
)
SIZE = 'width="80" height="60"'
BOX = '<box label="cat" xtl="10" ytl="20" xbr="30" ybr="44.5" occluded="1" z_order="0"/>'
ODD = 'Ångström 1.5'


def write(path, body, meta=f'<task>{LABELS}</task>'):
    path.parent.mkdir(parents=True, exist_ok=True)
    xml = f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta>{meta}</meta>{body}</annotations>'
    path.write_text(xml, encoding='utf-8')


def image_set(root, *shapes, name='a.jpg', **options):
    photo(root / f'images/{name}')
    write(root / 'annotations.xml', f'<image id="0" name="{name}" {SIZE}>{"".join(shapes)}</image>', **options)
    return root


def read(root):
    return require_source(root.resolve(), 'mmdet', label_format='cvat').read()


def only(root):
    """The annotations of the one photo."""
    labels = read(root)
    (images,) = labels.splits.values()
    (found,) = images
    return [(labels.classes[a['category_id'] - 1], a) for a in found.annotations]


def pixels(annotation):
    return coco_mask.decode(annotation['segmentation']).astype(bool)


def findings(root):
    return {f.kind: f.places for f in check_folder(str(root), label_format='cvat').report.findings}
