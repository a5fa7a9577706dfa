"""The metrics that a training follows, compared with those that its validations give: a name that is none shows only hours later."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from mmengine.config import Config
from mmengine.hooks import CheckpointHook

from .config_parts import evaluators_of

# What mmdet and mmseg call the metrics of one kind: the first is the one that people mean most often.
_COCO_ITEMS = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
_COCO_RECALLS = ('AR@100', 'AR@300', 'AR@1000', 'AR_s@1000', 'AR_m@1000', 'AR_l@1000')
_IOU_NAMES = dict(
    mIoU=('mIoU', 'aAcc', 'mAcc'), mDice=('mDice', 'aAcc', 'mAcc'), mFscore=('mFscore', 'aAcc', 'mPrecision', 'mRecall')
)
# Words in names from which MMEngine knows that more, or less, is better.
_RULED = tuple(key.lower() for key in (*CheckpointHook._default_greater_keys, *CheckpointHook._default_less_keys))


class _Followed(NamedTuple):
    """A setting that names a metric."""

    place: str
    name: str
    rule: str | None  # the setting that says whether more is better; None where nothing has to


def check_followed_metrics(cfg: Config) -> None:
    """Make sure that the validations of a training give the metrics by which it keeps checkpoints, stops, or lowers its rates.

    Evaluators of which it is not known what they give are trusted.

    Raises:
        ValueError: If they do not give one, or MMEngine would not know whether more of it is better.
    """
    if not cfg.get('val_dataloader') or not cfg.get('val_cfg'):
        return
    evaluators = evaluators_of(cfg, 'val')
    names = [_names_of(evaluator) for evaluator in evaluators]
    if not names or None in names:
        return
    of_classes = any(evaluator.get('classwise') for evaluator in evaluators)
    given = list(dict.fromkeys(name for some in names for name in some or ()))
    for place, name, rule in _followed(cfg) if given else ():
        if name not in given and not (of_classes and name.endswith('_precision')):
            kinds = ' and '.join(str(evaluator['type']) for evaluator in evaluators)
            near = [known for known in given if _plain(known) == _plain(name)]
            raise ValueError(
                f'{place}={name!r} is no metric of the validation: {kinds} of val_evaluator gives {", ".join(given)}; '
                f'set --cfg-options {place}={(near or given)[0]}{_or_ask_for(cfg, name)}'
            )
        if rule and not any(key in name.lower() for key in _RULED):
            raise ValueError(
                f'{place}={name!r}: MMEngine does not know whether more of it is better; set --cfg-options {rule}=greater'
            )


def _plain(name: str) -> str:
    """A metric's name without what people leave out or write in another way: 'coco/bbox_mAP' and 'bbox_map' are the same."""
    return name.rpartition('/')[2].lower().replace('-', '').replace('_', '')


def _or_ask_for(cfg: Config, name: str) -> str:
    """How the evaluator would give the metric, where it can."""
    wanted = next((kind for kind, names in _IOU_NAMES.items() if name in names), None)
    found = evaluators_of(cfg, 'val')
    if wanted is None or len(found) != 1 or found[0]['type'] != 'IoUMetric':
        return ''
    asked = [*found[0].get('iou_metrics', ['mIoU']), wanted]
    place = 'val_evaluator.0' if isinstance(cfg.val_evaluator, list) else 'val_evaluator'
    return f', or {place}.iou_metrics=[{",".join(asked)}]'


def _followed(cfg: Config) -> Iterator[_Followed]:
    hooks = [(f'default_hooks.{name}', hook) for name, hook in (cfg.get('default_hooks') or {}).items()]
    hooks += [(f'custom_hooks.{i}', hook) for i, hook in enumerate(cfg.get('custom_hooks') or ())]
    for place, hook in hooks:
        if not isinstance(hook, dict):
            continue
        key = 'monitor' if str(hook.get('type')).endswith('EarlyStoppingHook') else 'save_best'
        wanted = hook.get(key) or ()
        several = not isinstance(wanted, str)
        for i, name in enumerate(wanted if several else (wanted,)):
            if name != 'auto':
                ruled = hook.get('rule') or hook.get('greater_keys') or hook.get('less_keys')
                yield _Followed(
                    f'{place}.{key}.{i}' if several else f'{place}.{key}', name, None if ruled else f'{place}.rule'
                )
    schedulers = cfg.get('param_scheduler') or ()
    for i, scheduler in enumerate(schedulers if isinstance(schedulers, (list, tuple)) else [schedulers]):
        if str(scheduler.get('type')).startswith('ReduceOnPlateau'):
            place = f'param_scheduler.{i}' if isinstance(schedulers, (list, tuple)) else 'param_scheduler'
            yield _Followed(f'{place}.monitor', scheduler.get('monitor', 'loss'), None)


def _names_of(evaluator: dict) -> list[str] | None:
    """The metrics that an evaluator gives, the main one first; None where that is not known."""
    kind = _KNOWN.get(str(evaluator.get('type')).rpartition('.')[2])
    if kind is None:
        return None
    prefix, names = kind(evaluator)
    prefix = evaluator.get('prefix') or prefix
    return [] if evaluator.get('format_only') else [f'{prefix}/{name}' if prefix else name for name in names]


def _coco(evaluator: dict) -> tuple[str, list[str]]:
    items = evaluator.get('metric_items')
    names: list[str] = []
    for metric in _listed(evaluator.get('metric', 'bbox')):
        if metric == 'proposal_fast':
            names += [f'AR@{number}' for number in evaluator.get('proposal_nums', (100, 300, 1000))]
        elif metric == 'proposal':
            names += items or _COCO_RECALLS
        else:
            names += [f'{metric}_{item}' for item in items or _COCO_ITEMS]
    return 'coco', names


def _iou(evaluator: dict) -> tuple[str, list[str]]:
    return '', [name for metric in evaluator.get('iou_metrics', ['mIoU']) for name in _IOU_NAMES.get(metric, ())]


def _accuracy(evaluator: dict) -> tuple[str, list[str]]:
    thresholds = _listed(evaluator.get('thrs', 0.0))
    several = len(thresholds) > 1
    endings = ['_no-thr' if t is None else f'_thr-{t:.2f}' for t in thresholds] if several else ['']
    return 'accuracy', [f'top{k}{end}' for k in _listed(evaluator.get('topk', (1,))) for end in endings]


def _listed(value: object) -> Sequence:
    return value if isinstance(value, (list, tuple)) else (value,)


_KNOWN: dict[str, Callable[[dict], tuple[str, list[str]]]] = dict(CocoMetric=_coco, IoUMetric=_iou, Accuracy=_accuracy)
