"""Which checkpoint a training is judged by, and its metrics."""

import itertools

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner

import mmlska.engine.checkpoints  # noqa: F401, registers SafeCheckpointHook
from mmlska.engine.validations import Validations

SCORES = (0.1, 0.9, 0.5)
_names = itertools.count()


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Linear(1, 1)

    def forward(self, inputs, mode='tensor'):
        return dict(loss=self.slope(torch.stack(inputs)).square().mean()) if mode == 'loss' else [0]


class Scores(BaseMetric):
    """Gives the scores one after the other."""

    def __init__(self, scores):
        super().__init__()
        self.scores = iter(scores)

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        score = next(self.scores)
        return dict(score=score, error=-score)


def outcome(work_dir, scores, **checkpoint):
    """Train an epoch for each score, validated after each."""
    loader = dict(
        batch_size=1, dataset=[dict(inputs=torch.ones(1))], sampler=dict(type='DefaultSampler', shuffle=False)
    )
    runner = Runner(
        Line(),
        str(work_dir),
        train_dataloader=loader,
        val_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=len(scores)),
        val_cfg=dict(),
        val_evaluator=Evaluator(Scores(scores)),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=dict(type='SafeCheckpointHook', interval=1, **checkpoint)),
        experiment_name=f'validations_{next(_names)}',
    )
    validations = Validations()
    runner.register_hook(validations)
    runner.train()
    return validations.outcome(runner)


@pytest.mark.parametrize(
    ('checkpoint', 'file', 'score'),
    [
        (dict(save_best='score', rule='greater'), 'best_score_epoch_2.pth', 0.9),
        (dict(save_best='score', rule='less'), 'best_score_epoch_1.pth', 0.1),
        (dict(save_best=['error', 'score'], rule=['less', 'less']), 'best_error_epoch_2.pth', 0.9),
        (dict(), 'epoch_3.pth', 0.5),
    ],
)
def test_the_best_validation_counts_where_its_weights_are_kept(checkpoint, file, score, tmp_path):
    path, metrics = outcome(tmp_path, SCORES, **checkpoint)
    assert path == tmp_path / file
    assert path.is_file()
    assert metrics == dict(score=score, error=-score)
