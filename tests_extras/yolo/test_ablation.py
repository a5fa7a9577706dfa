"""The ablation, the data converter and the results that they make."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from ultralytics.data.utils import check_det_dataset

from mmlska.yolo.ablation import STOCK, ablate, build, cost, summarise, table
from mmlska.yolo.data import coco_to_yolo, data_name, fingerprint, fruits_to_yolo
from tests_extras.helpers import ROOT, fresh

SETTINGS = dict(epochs=1, imgsz=64, batch=4, nbs=4, workers=0, device='cpu', optimizer='SGD', amp=False)


def runs(*values):
    return dict(runs={str(i): {'mAP50-95': v} for i, v in enumerate(values)})


@pytest.mark.parametrize(
    ('values', 'verdict'),
    [
        ((0.51, 0.53, 0.52), 'better'),  # the same step for each seed: no spread of the difference
        ((0.49, 0.51, 0.50), 'worse'),
        ((0.50, 0.52, 0.51), 'no significant difference'),
        ((0.70, 0.40, 0.60), 'no significant difference'),  # a higher mean, of luck
        ((0.51,), 'not tested: fewer than two seeds in common'),
    ],
)
def test_verdicts(values, verdict):
    summary = summarise({STOCK: runs(0.50, 0.52, 0.51), 'head': runs(*values)})
    assert summary['head']['verdict'] == verdict
    assert 'verdict' not in summary[STOCK]


def test_paired_test_at_its_threshold():
    # Differences 1, 2, 3: mean 2, deviation 1, margin 4.303 / sqrt(3) = 2.484.
    row = summarise({STOCK: runs(0.0, 0.0, 0.0), 'head': runs(1.0, 2.0, 3.0)})['head']
    assert row['margin'] == pytest.approx(2.4843, abs=1e-3)
    assert row['verdict'] == 'no significant difference'
    assert summarise({STOCK: runs(0.0, 0.0, 0.0), 'head': runs(2.0, 3.0, 4.0)})['head']['verdict'] == 'better'


def test_costs_are_the_models():
    stock, head = (cost(build('yolo11n.yaml', variant, 11), 64, repeats=2) for variant in (STOCK, 'head'))
    assert stock['parameters'] == 2_624_080  # as Ultralytics prints for YOLO11n
    assert head['parameters'] > stock['parameters']
    assert head['gflops'] > stock['gflops'] > 0
    assert stock['latency_ms'] > 0
    with pytest.raises(ValueError, match="no variant 'tail'; choose among stock, bottleneck"):
        build('yolo11n.yaml', 'tail', 11)


@pytest.mark.slow
def test_a_run_is_resumed_and_refuses_another_setup(yolo_data, tmp_path):
    out, noted = tmp_path / 'results.json', []
    arguments = dict(base='yolo11n.yaml', k_size=11, work_dir=tmp_path / 'runs', note=noted.append)
    ablate(yolo_data, out, variants=[STOCK], seeds=[0], settings=SETTINGS, **arguments)
    results = ablate(yolo_data, out, variants=[STOCK, 'sppf'], seeds=[0], settings=SETTINGS, **arguments)
    assert noted == ['stock, seed 0', 'sppf, seed 0']
    assert json.loads(out.read_text()) == results
    assert results['variants']['sppf']['runs']['0']['mAP50-95'] >= 0
    assert '| LSKA: sppf | 2.90 |' in table(results)
    with pytest.raises(ValueError, match='holds results of another settings; give another --out'):
        ablate(yolo_data, out, variants=[STOCK], seeds=[0], settings={**SETTINGS, 'epochs': 2}, **arguments)


def test_other_data_is_another_setup(yolo_data, tmp_path):
    assert data_name(yolo_data) == yolo_data.parent.name
    out, arguments = tmp_path / 'results.json', dict(base='yolo11n.yaml', k_size=11, work_dir=tmp_path / 'runs')

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # the results file has its setup, and no training yet
        ablate(yolo_data, out, variants=[STOCK], seeds=[0], settings=SETTINGS, note=stop, **arguments)
    sets = {name: tmp_path / 'sets' / name for name in ('a.yaml', 'b.yaml')}
    (tmp_path / 'sets').mkdir()
    for path in sets.values():
        path.write_text(yolo_data.read_text())
    assert {data_name(path) for path in sets.values()} == {'sets_a', 'sets_b'}
    # The same name in another place; then with one box less.
    other = Path(shutil.copytree(yolo_data.parent, tmp_path / yolo_data.parent.name)) / 'data.yaml'
    other.write_text(yolo_data.read_text().replace(str(yolo_data.parent), str(other.parent)))
    assert data_name(other) == data_name(yolo_data)
    assert fingerprint(other) == fingerprint(yolo_data)  # a copy is the same
    label = next((other.parent / 'labels/train').glob('*.txt'))
    label.write_text(''.join(label.read_text().splitlines(keepends=True)[1:]))
    for changed in (*sets.values(), other):
        with pytest.raises(ValueError, match='holds results of another data'):
            ablate(changed, out, variants=[STOCK], seeds=[0], settings=SETTINGS, **arguments)


def test_data_in_the_current_folder_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert data_name(Path('data.yaml')) == data_name(Path('../', tmp_path.name, 'data.yaml')) == tmp_path.name


def test_listed_images_count_as_those_of_a_folder(yolo_data, tmp_path):
    images = sorted((yolo_data.parent / 'images/train').iterdir())
    (tmp_path / 'train.txt').write_text('\n'.join(map(str, images)) + '\n')
    text = yolo_data.read_text()
    (tmp_path / 'data.yaml').write_text(text.replace('train: images/train', f'train: {tmp_path}/train.txt'))
    assert fingerprint(tmp_path / 'data.yaml') == fingerprint(yolo_data)
    (tmp_path / 'train.txt').write_text('\n'.join(map(str, images[1:])))
    assert fingerprint(tmp_path / 'data.yaml') != fingerprint(yolo_data)


def test_boxes_become_yolo_lines(scenes, yolo_data):
    coco = json.loads((scenes / 'annotations/instances_training.json').read_text())
    image = coco['images'][0]
    stem = image['file_name'].rsplit('/')[-1].split('.')[0]
    lines = (yolo_data.parent / f'labels/train/{stem}.txt').read_text().splitlines()
    boxes = [a for a in coco['annotations'] if a['image_id'] == image['id']]
    assert len(lines) == len(boxes) > 0
    label, *numbers = lines[0].split()
    x, y, w, h = (float(n) * 96 for n in numbers)
    assert (x - w / 2, y - h / 2, w, h) == pytest.approx(boxes[0]['bbox'], abs=1e-3)
    assert int(label) == sorted(c['id'] for c in coco['categories']).index(boxes[0]['category_id'])
    assert check_det_dataset(str(yolo_data))['nc'] == 5


def test_what_cannot_be_converted(scenes, tmp_path):
    ann, images = scenes / 'annotations/instances_training.json', scenes / 'images/training'
    with pytest.raises(FileNotFoundError, match='train annotations .*none.json do not exist; give a COCO json'):
        coco_to_yolo(dict(train=(tmp_path / 'none.json', images)), tmp_path / 'out')
    with pytest.raises(FileNotFoundError, match='train image .* does not exist; give the folder that holds the images'):
        coco_to_yolo(dict(train=(ann, tmp_path)), tmp_path / 'out')
    with pytest.raises(ValueError, match='train has no image in'):
        coco_to_yolo(dict(train=(ann, images)), tmp_path / 'out', only=dict(train=['other.jpg']))
    changed = json.loads(ann.read_text())
    changed['categories'][0]['name'] = 'disc'
    (tmp_path / 'changed.json').write_text(json.dumps(changed))
    with pytest.raises(ValueError, match='val has the classes .* the split before it'):
        coco_to_yolo(dict(train=(ann, images), val=(tmp_path / 'changed.json', images)), tmp_path / 'out')


FRUITS = ROOT / 'data/fruits_nuts'


@pytest.mark.skipif(not FRUITS.is_dir(), reason='data/fruits_nuts is not there')
def test_fruits_split_as_their_source_says(tmp_path):
    file = fruits_to_yolo(FRUITS, tmp_path / 'fruits_nuts')
    setup = json.loads((ROOT / 'docs/results/yolo_ablate_fruits_nuts.json').read_text(encoding='utf-8'))['setup']
    assert (setup['data'], setup['data_sha256']) == (data_name(file), fingerprint(file))
    data = check_det_dataset(str(file))
    assert list(data['names'].values()) == ['date', 'fig', 'hazelnut']
    counts = {}
    for split in ('train', 'val'):
        files = sorted((file.parent / f'images/{split}').iterdir())
        labels = ''.join(p.read_text() for p in (file.parent / f'labels/{split}').iterdir()).splitlines()
        counts[split] = len(files), len(labels)
        assert Image.open(files[0]).size == (800, 600)
    assert counts == dict(train=(14, 127), val=(4, 38))


@pytest.mark.slow
def test_the_tool_says_what_is_wrong_and_what_came_out(yolo_data, tmp_path):
    tool = ROOT / 'tools/yolo_ablate.py'
    with pytest.raises(AssertionError, match='yolo_ablate.py: error: .*trainval.json does not exist; give the folder'):
        fresh(tool, tmp_path, cwd=tmp_path)
    settings = ['--epochs', 1, '--imgsz', 64, '--batch', 4, '--seeds', 0, '--variants', 'stock', '--out', 'a.json']
    assert '| stock | 2.62 |' in fresh(tool, yolo_data, *settings, cwd=tmp_path)
    assert (tmp_path / 'a.json').exists()


def test_the_table_in_the_readme_is_that_of_the_results_file():
    results = json.loads((ROOT / 'docs/results/yolo_ablate_fruits_nuts.json').read_text(encoding='utf-8'))
    page = (ROOT / 'README.md').read_text(encoding='utf-8')
    assert page.partition('<!-- yolo table -->\n')[2].partition('\n<!-- end -->')[0] == table(results)
