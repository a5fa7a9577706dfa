"""The report of a training of a classifier."""

import json
import re

import numpy as np
from pretraining_runs import configured

from mmlska.analysis.curves import read_scalars
from mmlska.engine.launch import build_train_runner
from mmlska.report import record_run, report_training
from mmlska.report.validation import read_validation


def test_top1_confusion_is_that_of_the_log(small_config, tmp_path):
    runner = build_train_runner(configured(small_config, tmp_path))
    record_run(runner)
    runner.train()
    page = report_training(runner).read_text(encoding='utf-8')
    assert 'Not made' not in page
    kept = read_validation(tmp_path / 'report/validation.npz')
    assert kept.confusion.sum() == kept.total == 16
    assert kept.confusion.sum(1).tolist() == [4, 4, 4, 4]
    logged = read_scalars(tmp_path)['accuracy/top1'][1][-1]
    assert 100 * np.trace(kept.confusion) / 16 == logged
    assert float(re.search(r'Top-1 accuracy ([\d.]+)\.', page)[1]) == logged
    batches = json.loads((tmp_path / 'report/batches.json').read_text())['batches']
    assert [len(batch) for batch in batches] == [8, 8, 8]
    assert {picture['note'] for batch in batches for picture in batch} <= {f'class n{number}' for number in range(4)}
    assert page.count('<svg class="picture"') == 24 + 8
    assert 'mmlska predict' not in page
