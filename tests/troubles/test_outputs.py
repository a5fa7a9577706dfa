"""Outputs that destroy: no tool writes over a file that it did not write itself, and never over an input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import own_sets
import pytest

import mmlska
from mmlska.outputs import RECORD, check_outputs, writing

PET = '{"shapes": [], "imagePath": "a.png", "by": "hand"}'


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two photos, one with a file of annotations made by hand."""
    for name in ('a.png', 'b.png'):
        own_sets.photo(tmp_path / 'photos' / name)
    (tmp_path / 'photos/a.json').write_text(PET)
    return tmp_path / 'photos'


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def predicting(model, photos, out, *args) -> list:
    files = ['--config', model.config, '--checkpoint', model.checkpoint]
    return ['predict', photos, *files, '--out', out, '--no-overlays', '--score-thr', 0.15, *args]


@pytest.mark.parametrize(
    ('kind', 'format', 'named'),
    [('fpn', 'png', 'a.png is an input'), ('retinanet', 'labelme', 'a.json is there'), ('fpn', 'json', 'a.json is')],
)
def test_predictions_beside_the_photos(tiny_models, photos, refused, kind, format, named):
    before = content(photos)
    line = refused(*predicting(tiny_models[kind], photos, photos, '--format', format))
    assert f'/photos/{named}' in line
    assert 'write to another place' in line
    assert content(photos) == before


def test_insisting_replaces_annotations_but_no_photo(tiny_models, photos, command, refused):
    before = content(photos)
    insist = predicting(tiny_models['fpn'], photos, photos, '--overwrite')
    assert 'never overwritten' in refused(*insist, '--format', 'png')
    assert content(photos) == before
    assert command(*insist, '--format', 'json').code == 0
    assert (photos / 'a.json').read_text() != PET
    assert (photos / 'a.png').read_bytes() == before[photos / 'a.png']


def test_a_rerun_replaces_its_own_files_and_nothing_that_was_corrected(tiny_models, photos, tmp_path, command, refused):
    out = tmp_path / 'out'
    args = predicting(tiny_models['retinanet'], photos, out, '--format', 'labelme', '--overlays')
    for _ in range(2):
        assert command(*args).code == 0
    assert sorted(path.name for path in out.iterdir() if path.name != RECORD) == ['a.json', 'b.json', 'overlays']
    assert len((out / RECORD).read_text().splitlines()) == 4  # the same contents are noted once
    moved = shutil.copytree(out, tmp_path / 'moved')
    assert command(*[moved if arg == out else arg for arg in args]).code == 0

    corrected = json.loads((out / 'b.json').read_text()) | {'shapes': []}
    (out / 'b.json').write_text(json.dumps(corrected))
    before = content(out)
    assert 'b.json is there and mmlska did not write it, or it was changed since; ' in refused(*args)
    assert content(out) == before
    assert command(*args, '--overwrite').code == 0
    assert json.loads((out / 'b.json').read_text()) != corrected


def test_a_picture_drawn_over_by_hand_among_the_overlays(tiny_models, photos, tmp_path, refused):
    mine = tmp_path / 'out/overlays/b.png'
    own_sets.photo(mine)
    before = content(tmp_path)
    assert f'{mine} is there' in refused(*predicting(tiny_models['fpn'], photos, tmp_path / 'out', '--overlays'))
    assert content(tmp_path) == before


def test_the_whole_file_of_coco(tiny_models, photos, tmp_path, command, refused):
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'predictions.json').write_text('[]')
    args = predicting(tiny_models['retinanet'], photos, out, '--format', 'coco')
    assert 'predictions.json is there' in refused(*args)
    assert command(*args, '--overwrite').code == 0
    assert command(*args).code == 0


def test_frames_of_a_video(tiny_models, tmp_path, command, refused):
    import cv2

    video = cv2.VideoWriter(str(tmp_path / 'clip.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 5, (64, 64))
    for path in (tmp_path / f'{number}.png' for number in range(2)):
        own_sets.photo(path, (64, 64))
        video.write(cv2.imread(str(path)))
    video.release()
    args = predicting(tiny_models['retinanet'], tmp_path / 'clip.avi', tmp_path / 'out')
    for _ in range(2):
        assert command(*args).code == 0
    (tmp_path / 'out/clip_000001.json').write_text(PET)
    assert 'clip_000001.json is there' in refused(*args)


@pytest.mark.parametrize(('kind', 'option'), [('fpn', '--out'), ('fpn', '--show-dir'), ('retinanet', '--show-dir')])
def test_a_test_that_would_write_over_the_data(tiny_models, scenes, tmp_path, command, refused, kind, option):
    data = shutil.copytree(scenes, tmp_path / 'data')
    model = tiny_models[kind]
    place = data / ('annotations/validation' if option == '--out' else 'images/validation')
    settings = {'data_root': f'{data}/', 'test_dataloader.dataset.data_root': f'{data}/'}
    if kind == 'retinanet':
        settings['test_evaluator.ann_file'] = f'{data}/annotations/instances_validation.json'
    words = ['--cfg-options', *(f'{name}={value}' for name, value in settings.items())]
    args = ['test', model.config, model.checkpoint, '--work-dir', tmp_path / 'log']
    before = content(data)
    line = refused(*args, option, place, '--overwrite', *words)
    assert f'{place}/000000.png is an input, which is never overwritten' in line
    assert content(data) == before

    if kind == 'fpn':
        out = tmp_path / 'out'
        assert command(*args, option, out, *words).code == 0
        (out / '000000.png').rename(out / '000001.png')
        assert f'{out}/000001.png is there' in refused(*args, option, out, *words)


@pytest.mark.parametrize(('name', 'written'), [('mine.pkl', 'mine.pkl'), ('mine.json', 'mine.bbox.json')])
def test_predictions_of_a_test_in_a_file(tiny_models, tmp_path, command, refused, name, written):
    model = tiny_models['retinanet']
    args = ['test', model.config, model.checkpoint, '--work-dir', tmp_path / 'log', '--out', tmp_path / name]
    (tmp_path / written).write_text(PET)
    assert f'{written} is there' in refused(*args)
    assert (tmp_path / written).read_text() == PET
    assert command(*args, '--overwrite').code == 0
    assert command(*args).code == 0


def test_single_files(tiny_models, tmp_path, command, refused):
    """Each once over a file of the user, insisting, twice over its own file, and over an input."""
    own_sets.simple(tmp_path / 'pets')
    run = tmp_path / 'run/20260101_000000/vis_data'
    run.mkdir(parents=True)
    (run / 'scalars.json').write_text('{"loss": 1.0, "step": 1}\n{"loss": 0.5, "step": 2}\n')
    config, checkpoint = tiny_models['fpn']
    photo = tmp_path / 'pets/images/0.png'
    maps = ['feature-maps', config, photo, '--size', 64, '--kinds', 'eigencam', '--stages', 4]
    check = ['check', tmp_path / 'pets']
    for number, (args, option, name, source) in enumerate(
        [
            (check, '--json', 'report.json', tmp_path / 'pets/all.json'),
            (check, '--sheet', 'sheet.png', photo),
            (['plot-logs', tmp_path / 'run'], '--out', 'curves.png', None),
            (['plot-logs', run / 'scalars.json'], '--out', 'curves.png', run / 'scalars.json'),
            (maps, '--out', 'maps.png', photo),
            (['complexity', config, '--shape', 64, 64], '--json', 'cost.json', config),
        ]
    ):
        mine = tmp_path / str(number) / name
        mine.parent.mkdir()
        mine.write_text(PET)
        assert f'{mine} is there' in refused(*args, option, mine), args
        assert mine.read_text() == PET
        assert command(*args, option, mine, '--overwrite').code in (0, 1)
        assert command(*args, option, mine).code in (0, 1)
        assert mine.read_bytes() != PET.encode()
        if source is not None:
            before = source.read_bytes()
            assert f'{source} is an input' in refused(*args, option, source, '--overwrite'), args
            assert source.read_bytes() == before


def test_a_folder_of_several_files(tiny_models, tmp_path, refused, command):
    model = tiny_models['fpn']
    own_sets.photo(tmp_path / 'photos/1.png')
    args = ['erf', model.config, '--size', 64, '--images', tmp_path / 'photos', '--out', tmp_path / 'erf']
    assert command(*args).code == 0
    assert command(*args).code == 0
    (tmp_path / 'erf/erf.json').write_text('my notes')
    before = content(tmp_path)
    assert 'erf.json is there' in refused(*args)
    assert content(tmp_path) == before


def test_the_preview_of_scenes(tmp_path, refused, command):
    mine = tmp_path / 'photo.png'
    own_sets.photo(mine)
    before = mine.read_bytes()
    args = ['make-scenes', tmp_path / 'scenes', '--train', 1, '--val', 1, '--size', 32, '--preview', mine]
    assert 'photo.png is there' in refused(*args)
    assert mine.read_bytes() == before
    assert not (tmp_path / 'scenes').exists()
    for more in (['--overwrite'], []):
        assert command(*args, *more).code == 0


def test_weights_are_not_converted_over_themselves(tiny_models, tmp_path, refused, command):
    source = Path(shutil.copy(tiny_models['fpn'].checkpoint, tmp_path / 'mine.pth'))
    before = source.read_bytes()
    (tmp_path / 'link').symlink_to(tmp_path)
    for target in (source, tmp_path / 'link/mine.pth'):
        line = refused('convert', source, target, '--extract-backbone', '--overwrite')
        assert f'{target} is an input, which is never overwritten' in line
    assert source.read_bytes() == before


def test_an_exported_file(tiny_models, tmp_path, refused):
    pytest.importorskip('onnx')
    model, out = tiny_models['fpn'], tmp_path / 'mine.onnx'
    out.write_text('mine')
    args = ['export', model.config, model.checkpoint, '--out', out]
    assert 'mine.onnx is there' in refused(*args)
    checkpoint = Path(shutil.copy(model.checkpoint, tmp_path / 'checkpoint.onnx'))
    before = content(tmp_path)
    assert 'is an input' in refused('export', model.config, checkpoint, '--out', checkpoint, '--overwrite')
    with pytest.raises(FileExistsError, match=r'mine.onnx is there .* with overwrite=True$'):
        mmlska.load(*map(str, model)).export(out)
    assert content(tmp_path) == before


def test_a_report_that_somebody_else_wrote(tmp_path, refused):
    run = tmp_path / 'run'
    run.mkdir()
    (run / 'small.py').write_text('model = dict(type="X")\n')
    (run / 'report.html').write_text('<h1>My findings</h1>')
    assert 'report.html is there and mmlska did not write it; rename it' in refused('report', run)
    assert (run / 'report.html').read_text() == '<h1>My findings</h1>'


def test_pictures_from_python(tiny_models, photos, tmp_path):
    model = mmlska.load(*map(str, tiny_models['fpn']))
    result = model.predict(photos / 'a.png')
    before = content(photos)
    for path, insist in [(photos / 'a.png', True), (photos / 'b.png', False)]:
        with pytest.raises(FileExistsError, match=r'never overwritten' if insist else r'with overwrite=True$'):
            result.save(path, overwrite=insist)
    assert content(photos) == before
    result.save(tmp_path / 'new.png')
    result.save(tmp_path / 'new.png')
    result.save(photos / 'b.png', overwrite=True)
    assert content(photos)[photos / 'b.png'] != before[photos / 'b.png']


def test_an_input_by_another_name(tmp_path):
    (tmp_path / 'a').write_text('input')
    (tmp_path / 'b').hardlink_to(tmp_path / 'a')
    with pytest.raises(FileExistsError, match=r'b is an input'):
        check_outputs([tmp_path / 'b'], inputs=[tmp_path / 'a'], overwrite=True)
    (tmp_path / 'c').symlink_to(tmp_path / 'a')
    with pytest.raises(FileExistsError, match=r'c is a link, which is not replaced'):
        check_outputs([tmp_path / 'c'], overwrite=True)


def test_a_write_that_fails_makes_no_file_ours(tmp_path):
    mine = tmp_path / 'mine.txt'
    mine.write_text('mine')
    with pytest.raises(ZeroDivisionError), writing(mine, overwrite=True):
        raise ZeroDivisionError
    with pytest.raises(FileExistsError):
        check_outputs([mine])


def test_the_record_is_damaged_or_a_link(tmp_path):
    """Then files count as the user's, and nothing is written through the link."""
    out = tmp_path / 'out'
    out.mkdir()
    (tmp_path / 'victim').write_text('victim')
    (out / RECORD).symlink_to(tmp_path / 'victim')
    with writing(out / 'a'):
        (out / 'a').write_text('a')
    assert (tmp_path / 'victim').read_text() == 'victim'
    (out / RECORD).unlink()
    (out / RECORD).write_bytes(b'\xff\n[1]\n["x", {}]\n{}\n["half')
    with pytest.raises(FileExistsError):
        check_outputs([out / 'a'])


def test_data_with_a_record_are_read_as_before(tiny_models, tmp_path, command):
    """Predictions of LabelMe files into a folder of photos are labels to train on."""
    own_sets.photo(tmp_path / 'photos/a.jpg')
    args = predicting(tiny_models['retinanet'], tmp_path / 'photos', tmp_path / 'photos', '--format', 'labelme')
    assert command(*args).code == 0
    assert (tmp_path / 'photos' / RECORD).is_file()
    assert 'labelme' in command('check', tmp_path / 'photos').out
