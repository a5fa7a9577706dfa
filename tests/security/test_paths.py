"""Nothing outside is read, drawn, copied or replaced by what a folder of data holds: '..', links, pipes, odd names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
from own_sets import MASK_RCNN, SIZE, UPERNET, adapt, annotation, coco, image, mask, photo, simple  # noqa: E402

from mmlska.classification.standin import write_crops  # noqa: E402
from mmlska.commands import check  # noqa: E402
from mmlska.datasets.scenes import make_scene, write_contact_sheet  # noqa: E402
from mmlska.engine.config import load_config  # noqa: E402
from mmlska.infer.overlay import draw_prediction  # noqa: E402
from mmlska.infer.prediction import Prediction  # noqa: E402
from mmlska.infer.writers import write_predictions  # noqa: E402
from mmlska.own_data.check import check_config, check_folder  # noqa: E402
from mmlska.own_data.contact_sheet import write_sheet  # noqa: E402
from mmlska.own_data.folder import LEADS_OUT, walk  # noqa: E402
from mmlska.own_data.repair import write_repaired  # noqa: E402
from mmlska.own_data.sources import require_source  # noqa: E402

MAGENTA = (255, 0, 255)
INSIDE = 'copy the files in, or give the folder that holds both'


@pytest.fixture
def places(tmp_path):
    """A folder of data, x/data, beside secrets; and y, for the corrected copy, beside a file of the secrets' name."""
    secret = tmp_path / 'victim/a.png'
    for path in (secret, tmp_path / 'x/victim/a.png'):
        path.parent.mkdir(parents=True)
        Image.new('RGB', SIZE, MAGENTA).save(path)
    for place in ('y/victim/a.png', 'y/a.png', 'victim/b.png'):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b'canary')
    return tmp_path


def canaries(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob('*') if path.is_file() and 'data' not in path.parts}


def shows_secret(path: Path) -> bool:
    pixels = cv2.imread(str(path))
    return pixels is not None and bool((np.abs(pixels.astype(int) - MAGENTA[::-1]).max(-1) < 12).mean() > 0.01)


def check_sheet_and_copy(root: Path, places: Path, before: dict) -> None:
    """Check, draw and mend the data; nothing of the secrets is in what comes out and nothing outside changes."""
    checked = check_folder(str(root))
    assert [f.level for f in checked.report.findings if f.kind == LEADS_OUT] == ['error'], checked.report.text()
    write_sheet(str(places / 'sheet.png'), checked.source)
    assert not shows_secret(places / 'sheet.png')
    (places / 'sheet.png').unlink()
    write_repaired(str(places / 'y/new'), checked.source)
    copied = [path for path in (places / 'y/new').rglob('*') if path.is_file()]
    assert copied
    assert not any(map(shows_secret, copied))
    assert {path: content for path, content in canaries(places).items() if 'new' not in path.parts} == before


def dots(root: Path) -> str:
    return '../../../victim/a.png'


def dots_of_windows(root: Path) -> str:
    return '..\\..\\..\\victim\\a.png'


def link_to_a_file(root: Path) -> str:
    (root / 'images/a.png').symlink_to('../../../victim/a.png')
    return 'a.png'


def link_to_a_folder(root: Path) -> str:
    (root / 'images/more').symlink_to(root.parents[1] / 'victim')
    return 'more/a.png'


def dots_behind_a_link(root: Path) -> str:
    (root / 'deep/er').mkdir(parents=True)
    (root / 'images/link').symlink_to('../deep/er')
    return 'link/../../../victim/a.png'


@pytest.mark.parametrize('way', [dots, dots_of_windows, link_to_a_file, link_to_a_folder, dots_behind_a_link])
def test_coco_files_lead_nowhere_else(way, places):
    root = simple(places / 'x/data')
    name = way(root)
    entries = [image(i, f'{i}.png') for i in range(4)] + [image(4, name)]
    coco(root / 'all.json', entries, [annotation(i + 1, i, 1) for i in range(5)])
    check_sheet_and_copy(root, places, canaries(places))
    with pytest.raises(ValueError, match=f'lead.* out of .*; {INSIDE}'):
        require_source(root, 'mmdet').read()
    with pytest.raises(ValueError, match=INSIDE):
        adapt(MASK_RCNN, root, places / 'work')


def masks(root: Path) -> Path:
    for i in range(4):
        photo(root / f'images/{i}.png')
        mask(root / f'masks/{i}.png', np.indices(SIZE[::-1])[1] // 40)
    return root


def linked_image(root: Path) -> None:
    (root / 'images/a.png').symlink_to(root.parents[1] / 'victim/a.png')
    mask(root / 'masks/a.png', np.zeros(SIZE[::-1]))


def linked_mask(root: Path) -> None:
    photo(root / 'images/a.png')
    (root / 'masks/a.png').symlink_to(root.parents[1] / 'victim/a.png')


def linked_folder(root: Path) -> None:
    photo(root / 'images/more/a.png')
    (root / 'masks/more').symlink_to(root.parents[1] / 'victim')


def linked_class_file(root: Path) -> None:
    (root.parents[1] / 'victim/names.json').write_text('["secret one", "secret two"]')
    (root / 'classes.json').symlink_to(root.parents[1] / 'victim/names.json')


def link_behind_a_link(root: Path) -> None:
    (root / 'elsewhere').symlink_to('more')
    (root / 'more').symlink_to(root.parents[1] / 'victim')


@pytest.mark.parametrize('way', [linked_image, linked_mask, linked_folder, linked_class_file])
def test_mask_folders_lead_nowhere_else(way, places):
    root = masks(places / 'x/data')
    way(root)
    check_sheet_and_copy(root, places, canaries(places))
    assert 'secret' not in (places / 'y/new/classes.json').read_text()
    for call in (lambda: require_source(root, 'mmseg'), lambda: adapt(UPERNET, root, places / 'work')):
        with pytest.raises(ValueError, match=f'is a link that leads out .*; {INSIDE}'):
            call()


def test_labels_that_lie_elsewhere_are_not_found(places):
    root = places / 'x/data'
    root.mkdir()
    link_behind_a_link(root)
    with pytest.raises(ValueError, match=INSIDE):
        check_folder(str(root))


def test_the_lists_of_a_config_lead_nowhere_else(places):
    root = masks(places / 'x/data')
    (root / 'list.txt').write_text('0\n1\n../../../victim/a\n')
    (places / 'c.py').write_text(f"""
_base_ = {str(ROOT / 'configs/demo/upernet_van_lska_t_scenes.py')!r}
data_root = {f'{root}/'!r}
metainfo = dict(_delete_=True, classes=('a', 'b'), palette=[[0, 0, 0], [9, 9, 9]])
data = dict(data_root=data_root, metainfo=metainfo, img_suffix='.png', reduce_zero_label=False, ann_file='list.txt',
            data_prefix=dict(img_path='images', seg_map_path='masks'))
train_dataloader = val_dataloader = test_dataloader = dict(dataset=data)
""")
    before = canaries(places)
    checked = check_config(load_config(str(places / 'c.py')))
    assert LEADS_OUT in {f.kind for f in checked.report.findings}
    write_repaired(str(places / 'y/new'), checked.source)
    assert {path: content for path, content in canaries(places).items() if 'new' not in path.parts} == before
    assert sorted(path.name for path in (places / 'y/new/images').rglob('*.*')) == ['0.png', '1.png']


def test_links_inside_and_a_folder_that_is_one_are_read(tmp_path):
    root = simple(tmp_path / 'd')
    (root / 'images/0.png').rename(root / '0.png')
    (root / 'images/0.png').symlink_to('../0.png')
    (root / 'images').rename(root / '.store')
    (root / 'images').symlink_to('.store')
    (tmp_path / 'link').symlink_to('d')
    checked = check_folder(str(tmp_path / 'link'))
    assert checked.report.findings == []
    entries = [image(0, '../images/1.png')]  # as it counts from the folder of the labels
    (root / 'all.json').unlink()
    coco(root / 'annotations/all.json', entries, [annotation(1, 0, 1), annotation(2, 0, 2, (5, 5, 20, 20))])
    kinds = [finding.kind for finding in check_folder(str(root)).report.findings]
    assert kinds == ['photo that no annotation file names, not used']
    write_repaired(str(tmp_path / 'new'), checked := check_folder(str(root)).source)
    assert [path.name for path in (tmp_path / 'new/images').iterdir()] == ['1.png']
    assert len(checked.files) == 1


def test_circles_of_links_end(tmp_path):
    for name, other in (('a', 'b'), ('b', 'a')):
        photo(tmp_path / name / f'{name}.png')
        for i in range(2):
            (tmp_path / name / f'to{i}').symlink_to(f'../{other}')
    (tmp_path / 'self').symlink_to('self')
    (tmp_path / 'top').symlink_to('.')
    code = (
        'import sys; from pathlib import Path; from mmlska.own_data.folder import walk; '
        'print([path.name for path in walk(Path(sys.argv[1]))])'
    )
    result = subprocess.run(
        [sys.executable, '-c', code, tmp_path], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert sorted(eval(result.stdout)) == ['a.png', 'b.png']


def test_folders_deeper_than_the_stack(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):
        os.mkdir('d')
        os.chdir('d')
    try:
        assert list(walk(tmp_path)) == []
    finally:  # pytest would fail to
        for _ in range(1200):
            os.chdir('..')
            os.rmdir('d')


def test_pipes_are_not_read(places):
    root = simple(places / 'x/data')
    coco(root / 'all.json', [image(i, f'{i}.png') for i in range(5)], [annotation(i + 1, i, 1) for i in range(5)])
    for name in ('images/4.png', 'b.json', 'classes.json', 'masks/0.png'):
        (root / name).parent.mkdir(exist_ok=True)
        os.mkfifo(root / name)
    report = run_tool(root, '--fix', places / 'y/new')
    assert report.returncode == 1
    assert 'missing image: 4.png' in report.stdout
    assert not any((places / 'y/new').rglob('4.png'))


def run_tool(*args) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / 'tools/check_dataset.py'), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def file_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def dangling_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim.parent / 'nothing')


def folder_link(path: Path, victim: Path) -> None:
    (victim.parent / 'empty').mkdir()
    path.symlink_to(victim.parent / 'empty')


def pipe(path: Path, victim: Path) -> None:
    os.mkfifo(path)


def full_folder(path: Path, victim: Path) -> None:
    path.mkdir()
    (path / 'mine').write_text('mine')


@pytest.mark.parametrize('kind', [file_link, dangling_link, folder_link, pipe, full_folder])
@pytest.mark.parametrize('option', ['--sheet', '--json', '--fix'])
def test_links_and_what_is_no_file_are_not_replaced(option, kind, tmp_path, monkeypatch, capsys):
    victim = tmp_path / 'victim/file'
    victim.parent.mkdir()
    victim.write_text('canary')
    target = tmp_path / 'out'
    kind(target, victim)
    before = target.lstat()
    monkeypatch.setattr(sys, 'argv', ['check_dataset.py', str(simple(tmp_path / 'd')), option, str(target)])
    with pytest.raises(SystemExit) as end:
        check.main()
    assert end.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    after = target.lstat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert victim.read_text() == 'canary'
    assert sorted(path.name for path in victim.parent.rglob('*') if path.is_file()) == ['file']


class Painter:
    """As mmdet's visualiser: writes the file that it is told."""

    def add_datasample(self, name, pixels, *, out_file, **options):
        Image.fromarray(pixels).save(out_file)


def prediction(name: str, value: float = 0.5) -> Prediction:
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    found = InstanceData(
        bboxes=torch.tensor([[1.0, 2.0, 5.0, 6.0]]), scores=torch.tensor([value]), labels=torch.tensor([0])
    )
    return Prediction(name, np.zeros((9, 9, 3), np.uint8), DetDataSample(pred_instances=found), ('cat',))


@pytest.mark.parametrize('what', ['sheet', 'scenes', 'overlay'])
def test_names_of_unfinished_files_can_not_be_laid_out(what, tmp_path):
    victim = tmp_path / 'victim'
    victim.write_text('canary')
    out = tmp_path / 'out/a.png'
    out.parent.mkdir()
    for name in ('.a.png.part', '.unfinished.png', f'.a.png.{os.getpid()}'):
        (out.parent / name).symlink_to(victim)
    if what == 'sheet':
        write_sheet(str(out), check_folder(str(simple(tmp_path / 'd'))).source)
    elif what == 'scenes':
        write_contact_sheet(
            out, [make_scene(0, split='training', size=64, num_classes=3, difficulty='easy', texture='random', seed=0)]
        )
    else:
        draw_prediction(Painter(), prediction('a.png'), out, 0.3)
    assert victim.read_text() == 'canary'
    assert cv2.imread(str(out)) is not None
    assert not out.is_symlink()
    assert len(list(out.parent.iterdir())) == 4


def test_a_link_in_the_place_of_a_picture_is_not_written_through(tmp_path):
    victim = tmp_path / 'victim'
    victim.write_text('canary')
    (tmp_path / 'a.png').symlink_to(victim)
    with pytest.raises(FileExistsError, match='a.png is a link'):
        draw_prediction(Painter(), prediction('a.png'), tmp_path / 'a.png', 0.3)
    write_crops(tmp_path / 'crops', 1, 8)
    made = next((tmp_path / 'crops').rglob('*.png'))
    made.unlink()
    made.symlink_to(victim)
    with pytest.raises(FileExistsError, match='is a link'):
        write_crops(tmp_path / 'crops', 1, 8)
    assert victim.read_text() == 'canary'


@pytest.mark.parametrize(
    ('name', 'written'),
    [
        ('q#/a.png', 'a.json'),
        ('set#1/a.png', 'a.json'),
        ('in/q#/../../../victim/a.png', 'a.json'),
        ('clip.mp4#1/a.png', 'a.json'),
        ('in/a#000003.png', 'a#000003.json'),
        ('clips/a.mp4#000003', 'a_000003.json'),
        ('in/' + 'é' * 125 + '.png', 'é' * 100 + '.json'),
    ],
)
def test_predictions_land_in_their_folder(name, written, tmp_path):
    victim = tmp_path / 'victim/a.png.json'
    victim.parent.mkdir()
    victim.write_text('canary')
    out = tmp_path / 'x/y/out'
    files = write_predictions([prediction(name), prediction(f'b/{Path(name).name}', 0.9)], out, 'json')
    assert victim.read_text() == 'canary'
    assert [path.name for path in out.rglob('*')] == [path.name for path in out.iterdir()]
    assert files[0] == out / written
    assert len({*files}) == 2
    assert [json.loads(path.read_text())['instances'][0]['score'] for path in files] == pytest.approx([0.5, 0.9])
    assert [path for path in tmp_path.rglob('*') if path.is_file() and out not in path.parents] == [victim]


def test_two_images_of_one_name_are_both_copied(tmp_path):
    root = tmp_path / 'd'
    photo(root / 'images/a.png')
    Image.new('RGB', SIZE, MAGENTA).save(root / 'a.png')
    coco(root / 'all.json', [image(0, 'images/a.png'), image(1, 'a.png')], [annotation(i + 1, i, 1) for i in range(2)])
    write_repaired(str(tmp_path / 'new'), check_folder(str(root)).source)
    assert sorted(path.name for path in (tmp_path / 'new/images').iterdir()) == ['a.png', 'a_2.png']
    assert [shows_secret(tmp_path / f'new/images/{name}.png') for name in ('a', 'a_2')] == [False, True]
