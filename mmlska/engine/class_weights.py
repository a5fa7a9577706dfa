"""Whether a loss has a weight for each class of its head."""

from __future__ import annotations

from mmengine.config import Config

from .config_parts import heads

_LOSSES = ('CrossEntropyLoss', 'mmdet.CrossEntropyLoss', 'mmseg.CrossEntropyLoss')


def check_class_weights(cfg: Config) -> None:
    """Make sure that each cross entropy over classes has as many weights as its head has classes, background included where it counts.

    Raises:
        ValueError: If one has another number.
    """
    for place, head in heads(cfg.model):
        for name in ('loss_decode', 'loss_cls'):
            losses = head.get(name)
            several = isinstance(losses, (list, tuple))
            for number, loss in enumerate(losses if several else [losses]):
                wanted = _wanted(head, name, loss, cfg.get('default_scope'))
                weights = loss.get('class_weight') if wanted else None
                if isinstance(weights, (list, tuple)) and len(weights) != wanted:
                    where = f'{place}.{name}{f".{number}" if several else ""}.class_weight'
                    and_none = ', the background last' if wanted > head['num_classes'] else ''
                    raise ValueError(
                        f'{where} has {len(weights)} values, but {place} tells {wanted} classes apart{and_none}; '
                        f'give it {wanted} values, or leave it out'
                    )


def _wanted(head: dict, name: str, loss: object, scope: str | None) -> int | None:
    """How many weights a loss must have; None where that cannot be said."""
    count = head.get('num_classes')
    if not isinstance(loss, dict) or loss.get('type') not in _LOSSES or not isinstance(count, int):
        return None
    if loss.get('use_sigmoid') or loss.get('use_mask'):
        return None
    # These tell 'no object' apart too.
    queries = str(head.get('type')).rpartition('.')[2].startswith(('Mask2Former', 'MaskFormer', 'SideAdapter'))
    if name == 'loss_decode' and not queries:
        return head.get('out_channels') or count
    return count + 1 if scope == 'mmdet' or queries else None
