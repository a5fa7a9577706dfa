"""What MMEngine logged, over the runs in a work directory."""

import json

import pytest

from mmlska.engine.run_log import read_log, read_metrics


def log(folder, stamp, entries, end=''):
    path = folder / stamp / 'vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(json.dumps(entry) + '\n' for entry in entries) + end)
    return path


def test_records_of_all_runs_the_newest_last(tmp_path):
    log(tmp_path, '2', [dict(step=2, loss=0.5)])
    first = log(tmp_path, '1', [dict(step=1, loss=2.0), dict(step=2, loss=1.0)], end='{"step": 3, "lo')
    assert read_log(tmp_path) == [dict(step=1, loss=2.0), dict(step=2, loss=1.0), dict(step=2, loss=0.5)]
    assert read_log(first) == [dict(step=1, loss=2.0), dict(step=2, loss=1.0)]


def test_missing_and_damaged_logs(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no log in .*; give a work directory'):
        read_log(tmp_path)
    path = log(tmp_path, '1', [dict(step=1, loss=1.0)])
    path.write_text('{"step": 1,\n' + path.read_text())
    with pytest.raises(ValueError, match='is damaged in line 1'):
        read_log(path)


def test_metrics_of_the_last_test(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no test in .*; give the --work-dir of mmlska test'):
        read_metrics(tmp_path)
    for stamp, value in (('20260102_030405', 30.0), ('20260101_030405', 20.0)):
        (tmp_path / stamp).mkdir()
        (tmp_path / stamp / f'{stamp}.json').write_text(json.dumps(dict(mIoU=value)))
    assert read_metrics(tmp_path) == dict(mIoU=30.0)
    (tmp_path / 'report').mkdir()
    (tmp_path / 'report/run.json').write_text('{}')  # of a training's report
    assert read_metrics(tmp_path) == dict(mIoU=30.0)


def test_logs_of_some_runs_alone(tmp_path):
    for stamp, loss in (('1', 3.0), ('2', 2.0), ('3', 1.0)):
        log(tmp_path, stamp, [dict(step=1, loss=loss)])
    assert [record['loss'] for record in read_log(tmp_path, ['1', '3'])] == [3.0, 1.0]
