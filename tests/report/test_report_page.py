"""The report of a training: of real runs of tiny models, in a real browser, and compared with what others compute."""

import itertools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from error_models import DETECTOR, SEGMENTOR, small_config
from mmengine.runner import Runner
from page_checks import CONTRAST, rows_of

from mmlska.analysis.curves import read_scalars
from mmlska.analysis.errors import RECALLS, precision_curves
from mmlska.analysis.overlaps import iou_of_classes
from mmlska.datasets.scenes import write_scenes
from mmlska.engine.config import load_config
from mmlska.engine.launch import build_train_runner, prepare
from mmlska.report import record_run, report_training, write_report
from mmlska.report.record import BATCHES, IMAGES_OF_BATCH
from mmlska.report.validation import read_validation
from mmlska.weights import use_safe_reader

pytestmark = pytest.mark.slow  # real trainings

NAMES = ['<img src=x onerror=document.title=1>', 'a&b"\'', '$x_{', '日本', 'ring']
FILE = '<b>&.png'
_numbers = itertools.count()


def runner_of(config: Path, work_dir: Path, **options) -> Runner:
    """The runner that tools/train.py would build."""
    use_safe_reader()
    # MMEngine keeps loggers and visualisers by name: those of another test would get the scalars.
    name = f'report_{next(_numbers)}'
    names = {'experiment_name': name, 'visualizer.name': name}
    cfg = load_config(str(config), {'default_hooks.logger.interval': 1, **names, **options})
    prepare(cfg, str(config), work_dir=str(work_dir), launcher='none', seed=0)
    return build_train_runner(cfg)


def trained(config: Path, work_dir: Path, **options) -> Path:
    runner = runner_of(config, work_dir, **options)
    record_run(runner)
    runner.train()
    assert report_training(runner) == work_dir / 'report.html'
    return work_dir


def hostile_scenes(folder: Path) -> Path:
    """Scenes whose classes and one of whose files have names that HTML, SVG and matplotlib would take for their own."""
    root = folder / 'scenes'
    write_scenes(root, num_train=6, num_val=5, size=96, num_classes=5, difficulty='easy', texture='random', seed=0)
    for split in ('training', 'validation'):
        path = root / f'annotations/instances_{split}.json'
        content = json.loads(path.read_text())
        for category, name in zip(content['categories'], NAMES):
            category['name'] = name
        first = root / 'images' / split / content['images'][0]['file_name']
        content['images'][0]['file_name'] = FILE
        first.rename(first.with_name(FILE))
        path.write_text(json.dumps(content))
    return root


@pytest.fixture(scope='module')
def detector(tmp_path_factory) -> Path:
    """The work directory of two epochs of a detector on hostile scenes."""
    folder = tmp_path_factory.mktemp('detector')
    config = small_config(DETECTOR, hostile_scenes(folder), folder)
    named = config.read_text() + f'\nmetainfo = dict(classes={NAMES!r})\n'
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        named += f"{loader}['dataset']['metainfo'] = metainfo\n"
    config.write_text(named)
    return trained(config, folder / 'work', **{'train_cfg.max_epochs': 2})


@pytest.fixture(scope='module')
def segmentor(scenes, tmp_path_factory) -> Path:
    """The work directory of two iterations of a segmentor."""
    folder = tmp_path_factory.mktemp('segmentor')
    return trained(small_config(SEGMENTOR, scenes, folder), folder / 'work')


def section(work_dir: Path, key: str) -> str:
    page = (work_dir / 'report.html').read_text(encoding='utf-8')
    return re.search(rf'(?s)<section id="{key}">(.*?)</section>', page)[1]


@pytest.mark.parametrize('name', ['detector', 'segmentor'])
def test_every_section_is_made_and_nothing_comes_from_outside(name, request):
    work_dir = request.getfixturevalue(name)
    page = (work_dir / 'report.html').read_text(encoding='utf-8')
    assert 'Not made' not in page
    assert page.count('<section') == page.count('<li><a href="#') == 9
    assert not re.search(r'https?:', re.sub(r'(?s)<pre>.*?</pre>', '', page))
    assert '<script' not in page
    assert len(page) < 5_000_000


def test_average_precision_is_that_of_the_log_and_of_pycocotools(detector):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    kept = read_validation(detector / 'report/validation.npz')
    assert kept.counted == kept.total == len(kept.images) == 5
    labels = COCO(next(detector.parent.glob('scenes/annotations/*validation.json')))
    ids = {entry['file_name']: number for number, entry in labels.imgs.items()}
    results = [
        dict(
            image_id=ids[Path(image.path).name],
            category_id=int(label) + 1,
            bbox=[*box[:2], *(box[2:] - box[:2])],
            score=float(score),
        )
        for image in kept.images
        for box, label, score in zip(image.boxes, image.labels, image.scores)
    ]
    judge = COCOeval(labels, labels.loadRes(results), 'bbox')
    judge.evaluate()
    judge.accumulate()
    expected = judge.eval['precision'][0, :, :, 0, -1].T
    expected[expected == -1] = np.nan  # classes without objects
    curves = precision_curves(kept.predictions())
    assert np.nanmax(expected) > 0
    np.testing.assert_allclose(curves, expected, atol=1e-12)
    assert np.array_equal(judge.params.recThrs, RECALLS)
    logged = read_scalars(detector)['coco/bbox_mAP_50'][1][-1]
    shown = float(re.search(r'AP at IoU 0.5 is ([\d.]+)', section(detector, 'errors'))[1])
    assert shown == pytest.approx(100 * np.nanmean(expected), abs=0.051)
    assert shown == pytest.approx(100 * logged, abs=0.1)


def test_labels_are_counted_as_the_files_have_them(detector):
    counts = {}
    for split in ('training', 'validation'):
        content = json.loads((detector.parent / f'scenes/annotations/instances_{split}.json').read_text())
        for number, name in enumerate(NAMES, start=1):
            mine = [item for item in content['annotations'] if item['category_id'] == number]
            counts.setdefault(name, []).extend([str(len(mine)), '', str(len({item['image_id'] for item in mine}))])
    rows = rows_of(section(detector, 'labels'))
    assert {row[0]: row[1:] for row in rows[1:]} == counts


def test_iou_is_that_of_mmseg(segmentor, scenes):
    kept = read_validation(segmentor / 'report/validation.npz')
    logged = {name: values[-1] for name, (_, values) in read_scalars(segmentor).items()}
    assert 100 * np.nanmean(iou_of_classes(kept.confusion)) == pytest.approx(logged['mIoU'], abs=0.006)
    text = section(segmentor, 'errors')
    shown = re.search(r'mIoU ([\d.]+), pixel accuracy ([\d.]+)\.', text)
    assert float(shown[1]) == pytest.approx(logged['mIoU'], abs=0.011)
    assert float(shown[2]) == pytest.approx(logged['aAcc'], abs=0.011)
    assert kept.confusion.sum() == 2 * 96 * 96
    assert [row[0] for row in rows_of(text)[1:7]] == list(kept.classes)


@pytest.mark.parametrize('base', [DETECTOR, SEGMENTOR])
def test_a_run_with_and_without_the_report_is_the_same_bit_for_bit(base, scenes, tmp_path):
    config = small_config(base, scenes, tmp_path)
    random = {'model.backbone.drop_path_rate': 0.3}
    random |= {'train_cfg.max_epochs': 2} if base == DETECTOR else {}
    runs = []
    for name in ('with', 'without'):
        runner = runner_of(config, tmp_path / name, **random)
        if name == 'with':
            record_run(runner)
        runner.train()
        runs.append((read_scalars(tmp_path / name), runner.model.state_dict()))
    assert len(list((tmp_path / 'with/report').iterdir())) == 3
    assert not (tmp_path / 'without/report').exists()
    (values, weights), (expected, expected_weights) = runs
    losses = [name for name in values if 'loss' in name or 'mAP' in name or 'mIoU' in name]
    assert len(losses) > 2
    assert {name: values[name] for name in losses} == {name: expected[name] for name in losses}
    assert all(torch.equal(tensor, expected_weights[name]) for name, tensor in weights.items())


def test_batches_are_what_the_network_gets(detector, segmentor):
    for work_dir in (detector, segmentor):
        kept = json.loads((work_dir / 'report/batches.json').read_text())
        assert kept['first'] == 1
        assert len(kept['batches']) == min(BATCHES, 6 if work_dir == detector else 2)
        assert all(0 < len(batch) <= IMAGES_OF_BATCH for batch in kept['batches'])
    pictures = [
        picture for batch in json.loads((detector / 'report/batches.json').read_text())['batches'] for picture in batch
    ]
    # The scenes are flipped at random: their boxes stand as augmented, not as in the file.
    content = json.loads((detector.parent / 'scenes/annotations/instances_training.json').read_text())
    boxes = {}
    for entry in content['images']:
        mine = [item['bbox'] for item in content['annotations'] if item['image_id'] == entry['id']]
        boxes[entry['file_name']] = [[x, y, x + w, y + h] for x, y, w, h in mine]
    same = [np.allclose(picture['boxes'], boxes[picture['name']], atol=1.5) for picture in pictures]
    assert not all(same)
    for picture in pictures:
        known = np.array(boxes[picture['name']])
        mirrored = [known, _flip(known, (0, 2))]
        mirrored += [_flip(boxes_of, (1, 3)) for boxes_of in mirrored]
        assert any(np.allclose(picture['boxes'], boxes_of, atol=1.5) for boxes_of in mirrored)


def _flip(boxes: np.ndarray, sides: tuple[int, int]) -> np.ndarray:
    low, high = sides
    flipped = boxes.copy()
    flipped[:, low], flipped[:, high] = 96 - boxes[:, high], 96 - boxes[:, low]
    return flipped


def test_a_run_without_a_record_is_predicted_and_says_what_it_lacks(detector, tmp_path):
    copy = shutil.copytree(detector, tmp_path / 'copy')
    shutil.rmtree(copy / 'report')
    for path in copy.glob('best_*'):  # it may be that of the first epoch
        path.unlink()
    expected = read_validation(detector / 'report/validation.npz')
    write_report(copy)
    kept = read_validation(copy / 'report/validation.npz')
    assert kept.counted == kept.total == 5
    for image, known in zip(kept.images, expected.images):
        np.testing.assert_allclose(image.scores, known.scores, atol=1e-5)
    assert 'predictions of ' in section(copy, 'predictions')
    assert 'Not made: the run kept no batches.' in section(copy, 'batches')
    assert '(not made)' in (copy / 'report.html').read_text(encoding='utf-8')
    assert len(list(copy.glob('*/*.log'))) == 1  # none of a test


def test_a_run_that_was_stopped_before_its_validation(detector, tmp_path):
    copy = shutil.copytree(detector, tmp_path / 'copy')
    for path in (*copy.glob('*.pth*'), copy / 'report/validation.npz', *copy.glob('*/vis_data')):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    facts = json.loads((copy / 'report/run.json').read_text())
    del facts['finished']
    (copy / 'report/run.json').write_text(json.dumps(facts))
    write_report(copy)
    assert 'stopped before its end, 2 epochs; or still running' in section(copy, 'summary')
    assert 'Not made: no validation has come to its end yet.' in section(copy, 'predictions')
    assert 'Not made: FileNotFoundError: no log in' in section(copy, 'curves')
    assert '<svg' in section(copy, 'batches')
    assert '--resume' in section(copy, 'commands')
    assert ' test ' not in section(copy, 'commands')


def test_a_report_that_cannot_be_written_fails_no_run(scenes, tmp_path):
    work_dir = tmp_path / 'work'
    runner = runner_of(small_config(SEGMENTOR, scenes, tmp_path), work_dir)
    record_run(runner)
    (work_dir / 'report').write_text('a file where the folder should be')
    (work_dir / 'report.html').mkdir()
    runner.train()
    assert (work_dir / 'iter_2.pth').is_file()
    assert report_training(runner) is None
    log = next(work_dir.glob('*/*.log')).read_text()
    lines = [line for line in log.splitlines() if 'WARNING' in line and 'report.html' in line]
    assert len(lines) == 3  # facts, validation, page
    assert 'report.html was not written: FileExistsError' in lines[-1]
    assert 'Traceback' not in log


def test_a_new_training_forgets_the_one_before(scenes, tmp_path):
    config = small_config(SEGMENTOR, scenes, tmp_path)
    trained(config, tmp_path / 'work', **{'train_cfg.max_iters': 4, 'train_cfg.val_interval': 4})
    trained(config, tmp_path / 'work')
    assert 'at iteration 2' in section(tmp_path / 'work', 'summary')
    facts = json.loads((tmp_path / 'work/report/run.json').read_text())
    assert len(facts['logs']) == 1
    assert len(list((tmp_path / 'work').glob('*/vis_data/scalars.json'))) == 2


def test_folders_that_hold_no_training(tmp_path):
    with pytest.raises(FileNotFoundError, match='holds no config; give the work directory of a training'):
        write_report(tmp_path)
    with pytest.raises(FileNotFoundError, match='is no folder; give the work directory'):
        write_report(tmp_path / 'none')
    for name in ('a.py', 'b.py'):
        (tmp_path / name).write_text('')
    with pytest.raises(ValueError, match=r'holds several configs \(a.py, b.py\)'):
        write_report(tmp_path)


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_the_page_in_a_browser(look, detector, segmentor, scheme):
    for work_dir in (detector, segmentor):
        page = look(work_dir / 'report.html', color_scheme=scheme)
        for selector in ('h1', 'h2', '.note', 'th', 'td.name', 'nav a', 'pre.command', 'figcaption', 'summary'):
            assert page.evaluate(CONTRAST, selector) >= 4.5, selector
        assert page.evaluate('document.documentElement.scrollWidth') <= 1280
        missing = "[...document.querySelectorAll('nav a')].filter(a => !document.querySelector(a.getAttribute('href'))).length"
        assert page.evaluate(missing) == 0
        empty = """[...document.querySelectorAll('svg')].filter(svg => {
          const { width, height } = svg.getBoundingClientRect(); return width < 40 || height < 30 }).length"""
        assert page.evaluate(empty) == 0
        assert page.evaluate("document.querySelectorAll('svg image').length") >= 8
        ink = "getComputedStyle(document.querySelector('svg.figure text')).fill"
        assert page.evaluate(ink) == page.evaluate('getComputedStyle(document.body).color')


def test_names_are_shown_and_never_run(look, detector):
    page = look(detector / 'report.html')
    assert page.title() == 'Training work'
    assert page.locator('img').count() == 0
    shown = page.locator('#labels td.name').all_text_contents()
    assert shown == NAMES
    assert FILE in page.locator('#batches figcaption').all_text_contents()
    legend = page.locator('#errors svg.figure').text_content()
    kept = read_validation(detector / 'report/validation.npz')
    known = [name for name, curve in zip(NAMES, precision_curves(kept.predictions())) if not np.isnan(curve[0])]
    assert len(known) > 2
    assert [name in legend for name in NAMES] == [name in known for name in NAMES]
