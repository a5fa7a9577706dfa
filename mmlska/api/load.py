"""From what a user names to a model: config, checkpoint, or the work directory that holds both."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from ..engine.config import find_checkpoint, find_config, find_path, load_config
from ..engine.work_dir import last_checkpoint, origin_of, runs_of, trained_files
from ..weights.manifest import MANIFEST_SCHEME
from .model import Model


def load(
    config: str | Path,
    checkpoint: str | Path | None = None,
    *,
    device: str | None = None,
    dtype: str = 'fp32',
    deploy: bool = False,
    trust: bool | None = None,
) -> Model:
    """Load a detector or a segmentor.

    Args:
        config: Name of a config of the package (``mmlska configs`` lists them), config file, or work directory of a training.
        checkpoint: Checkpoint of a training with that config, a work directory for its last one, or 'mmlska://NAME'. By default what the
            config names as ``load_from``, else the last checkpoint in its work directory, ``work_dirs/<config>``, with the config there.
            Without any of these the model has no weights until it is trained.
        device: Device of torch, such as 'cpu' or 'cuda:0'; by default the first GPU, else the CPU.
        dtype: 'fp32', or 'bf16' or (on a GPU) 'fp16' to predict with backbone and neck in that precision.
        deploy: Fold norms and layer scales of the backbone into its convolutions: predicts the same, up to rounding, and faster.
        trust: Let checkpoints run code; only those whose maker you know.

    Raises:
        FileNotFoundError: If there is no such config or checkpoint.
        ValueError: If the checkpoint is of another model than the config's, or device or dtype are not to be had.

    Example::

        model = mmlska.load('mask_rcnn_van_lska_t', 'work_dirs/mask_rcnn_van_lska_t/epoch_12.pth')
        model.predict('photo.jpg').show()
    """
    files, chosen = None, checkpoint is not None
    folder = find_path(config)
    if folder is not None and folder.is_dir():
        if files := trained_files(folder):
            config, chosen = files[0], True
        elif find_config(config) is None:
            raise FileNotFoundError(
                f'{config} is a folder without one config and a checkpoint; give a config, or the work directory of a training'
            )
    recipe = str(find_config(config) or config)
    cfg = load_config(recipe)  # or an error with the nearest names
    if checkpoint is not None:
        files = recipe, _checkpoint(checkpoint)
    elif files is None:
        files = _found_files(cfg, recipe)
    options = dict(device=device or 'auto', dtype=dtype, deploy=deploy, trust=trust)
    model = Model(recipe, *files, start=files[1] if chosen else None, options=options)
    if chosen or files[0] != recipe:  # else it may be what a training begins with, of another number of classes
        model.build()
    return model


def _found_files(cfg: Config, recipe: str) -> tuple[str | Path, Path | None]:
    """Config and checkpoint where only the config is named."""
    if files := trained_files(Path(recipe).parent):
        return files
    start = cfg.get('load_from')
    if start and (start.startswith(MANIFEST_SCHEME) or '://' not in start):
        return recipe, find_checkpoint(start)
    first = cfg.get('work_dir') or Path('work_dirs', Path(recipe).stem)
    runs = runs_of(first, origin_of(cfg)._replace(data=None))
    return next(filter(None, map(trained_files, runs)), (recipe, None))


def _checkpoint(checkpoint: str | Path) -> Path:
    """The file of a checkpoint that may be named by its work directory."""
    folder = find_path(checkpoint)
    if folder is None or not folder.is_dir():
        return find_checkpoint(str(checkpoint))
    if (last := last_checkpoint(folder)) is None:
        raise FileNotFoundError(
            f'{checkpoint} is a folder without a checkpoint; give a file, or the work directory of a training'
        )
    return last
