"""From what a user names to a model: config, checkpoint, or the work directory that holds both."""

from __future__ import annotations

from pathlib import Path

from ..engine.config import find_checkpoint, find_config, find_path, load_config
from ..engine.work_dir import last_checkpoint, runs_of, trained_files
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
    folder, found = find_path(config), None
    if folder is not None and folder.is_dir():
        found = trained_files(folder)
        if found is None:
            raise FileNotFoundError(
                f'{config} is a folder without one config and a checkpoint; give a config, or the work directory of a training'
            )
        config = found[0]
    recipe = str(find_config(config) or config)
    cfg = load_config(recipe)  # or an error with the nearest names
    if checkpoint is not None:
        found = (recipe, _checkpoint(checkpoint))
    elif found is None and (found := trained_files(Path(recipe).parent)) is None and cfg.get('load_from'):
        found = (recipe, find_checkpoint(cfg.load_from))
    start = found[1] if found and (checkpoint is not None or folder == Path(recipe).parent) else None
    if found is None:
        runs = runs_of(cfg.get('work_dir') or Path('work_dirs', Path(recipe).stem))
        found = next(filter(None, map(trained_files, runs)), (recipe, None))
    options = dict(device=device or 'auto', dtype=dtype, deploy=deploy, trust=trust)
    return Model(recipe, *found, start=start, options=options)


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
