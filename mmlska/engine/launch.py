"""Train and test a config on MMEngine's Runner: what ``mmlska train`` and ``mmlska test`` call."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, PrepareTTAHook
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from ..log import log
from ..weights import safe_reading
from ..weights.manifest import MANIFEST_SCHEME
from .checks import build_data, check_config_kept, check_data, check_folder, check_parts, check_settings, check_training
from .class_weights import check_class_weights
from .config import add_hook, find_checkpoint, has_hook, read_config, remove_hooks, replace_sync_bn, replace_type
from .console import calm, changed_settings, data_line
from .continuing import check_length_left
from .evaluation_options import use_overlays, use_predictions, use_tta
from .evaluation_outputs import guard_outputs
from .ignored_label import spread_ignored_label
from .input_checks import warn_of_readers
from .known_keys import check_keys, check_plain_keys
from .label_checks import check_labels
from .lock import unlock_work_dir
from .loops import use_repeatable_training
from .metric_checks import check_followed_metrics
from .model_checks import check_model, check_resumed
from .precision import use_dtype
from .processes import claim_work_dir, use_launcher
from .resume import checkpoint_to_resume
from .runner import EvaluationRunner, SafeRunner
from .sample_checks import built_datasets, check_samples
from .schedule_checks import check_batches, check_schedule, check_unit, settle_samplers
from .training_options import effective_batch
from .work_dir import OPTIONS, nothing_left, record_origin


def prepared_config(config: str, cfg_options: dict | None = None, **options) -> Config:
    """Read a config and make it ready for a runner.

    Args:
        config: The file, or the name of a config of the package.
        cfg_options: Settings by dotted key; see :func:`mmlska.engine.config.load_config`.
        **options: Those of :func:`prepare`.

    Raises:
        FileNotFoundError: If there is no such config.
        ImportError: If mmdet or mmseg, whose model the config trains, cannot be imported or refuses the installed mmcv.
        ValueError: If a setting is unknown, out of range or does not fit the environment.
    """
    cfg, lines = read_config(config, cfg_options)
    check_plain_keys(cfg)
    prepare(cfg, config, **options)
    _import_models(cfg.get('default_scope'))
    check_unit(cfg)
    check_keys(cfg)
    for line in lines:
        log(line)
    return cfg


def _import_models(scope: str | None) -> None:
    """Import mmdet's or mmseg's models: MMEngine hides an import that fails and finds them missing in its registry later."""
    if scope in ('mmdet', 'mmseg'):
        try:
            import_module(f'{scope}.models')
        except AssertionError as error:  # of the versions of mmcv and mmengine that they know
            raise ImportError(str(error)) from error


def prepare(
    cfg: Config,
    config_path: str,
    *,
    work_dir: str | None,
    launcher: str,
    seed: int | None,
    deterministic: bool = False,
    channels_last: bool | None = None,
    verbose: bool = False,
) -> None:
    """Set in ``cfg`` what training and testing share: the options of ``mmlska train``, which explains them.

    Args:
        config_path: The file of ``cfg``, whose name is that of the default work directory.
        seed: None for a new one.
        channels_last: None for channels_last where there is no GPU, where it is much faster, and no FSDP.
        verbose: Show all of MMEngine's log on the console; see :class:`mmlska.engine.console.ConsoleHook`.

    Raises:
        ValueError: If the config has no model, or a setting is out of range or does not fit the environment.
        FileExistsError: If the work directory is a file.
    """
    check_settings(cfg, config_path, work_dir=work_dir, seed=seed)
    use_launcher(launcher)
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(config_path).stem)
    check_config_kept(cfg)
    cfg.launcher = launcher
    if seed is not None or deterministic:
        cfg.randomness = dict(seed=seed, deterministic=deterministic)
    if channels_last or (channels_last is None and not torch.cuda.is_available() and not has_hook(cfg, 'FSDPHook')):
        add_hook(cfg, 'ChannelsLastHook')
    remove_hooks(cfg, 'ConsoleHook')  # of the config that an earlier run left
    if not verbose:
        add_hook(cfg, 'ConsoleHook')
        calm(MMLogger.get_current_instance())  # which logs until the runner has its own
    replace_sync_bn(cfg)
    spread_ignored_label(cfg)
    if not torch.cuda.is_available():
        _without_gpu(cfg)


def _without_gpu(cfg: Config) -> None:
    cfg.merge_from_dict({'env_cfg.dist_cfg.backend': 'gloo'})
    if cfg.launcher != 'none':
        if not torch.distributed.is_initialized():
            # MMEngine selects a CUDA device before it starts the process group, which fails without one.
            torch.distributed.init_process_group('gloo')
        # MMEngine's own default names a CUDA device.
        unused = cfg.get('find_unused_parameters', False)
        default = dict(type='MMDistributedDataParallel', broadcast_buffers=False, find_unused_parameters=unused)
        cfg.model_wrapper_cfg = dict(cfg.get('model_wrapper_cfg') or default, device_ids=None)


def build_train_runner(
    cfg: Config,
    *,
    resume: str | None = None,
    dtype: str = 'fp32',
    auto_scale_lr: bool = False,
    skip_bad_images: int = 0,
) -> Runner:
    """Build the Runner that trains a config which went through :func:`prepare`, with options of ``mmlska train``, which explains them.

    Raises:
        FileNotFoundError: If data or the checkpoint to resume are missing.
        ValueError: If a setting does not fit the config or this machine, no checkpoint to resume verifies or it is further than this
            training should become, or another training uses the work directory.
    """
    options = cfg.pop(OPTIONS, {})
    use_dtype(cfg, dtype, training=True)
    check_training(cfg, auto_scale_lr=auto_scale_lr, skip_bad_images=skip_bad_images)
    if auto_scale_lr:
        cfg.auto_scale_lr.enable = True
    check_model(cfg)
    check_labels(cfg, ('train', 'val'))
    check_class_weights(cfg)
    check_schedule(cfg)
    check_followed_metrics(cfg)
    settle_samplers(cfg, ('train', 'val'))
    settings = changed_settings(cfg)  # before mmlska puts its own parts in
    if resume is None and cfg.get('resume') and not cfg.get('load_from'):
        resume, cfg.resume = 'auto', False  # MMEngine's words for it; it would believe the file last_checkpoint
    claim_work_dir(cfg)
    try:
        found = checkpoint_to_resume(cfg.work_dir, resume) if resume else None
        if found:
            check_resumed(cfg, found)
        use_repeatable_training(cfg, skip_bad_images)
        _use_safe_parts(cfg)
        with nothing_left(cfg):
            runner = SafeRunner.from_cfg(cfg)
            if found:  # not in the config, which is written beside the checkpoints: a run from that file starts anew
                runner._resume, runner._load_from = True, str(found)
                runner.starts_anew = resume != 'auto'
            build_data(runner, cfg, ('train', 'val'))
            check_samples(cfg, built_datasets(runner, cfg, ('train', 'val')))
            check_batches(runner, cfg)
            finished = check_length_left(runner, found) if found else None
        if is_main_process():
            record_origin(cfg, options)
    except BaseException:
        unlock_work_dir(cfg.work_dir)
        raise
    if not any(isinstance(hook, CheckpointHook) for hook in runner.hooks):
        runner.logger.warning('default_hooks.checkpoint is off: this training saves no checkpoint')
    warn_of_readers(cfg)
    for line in (data_line(runner, ('train', 'val')), effective_batch(cfg, runner.world_size), *settings):
        log(line)
    if finished:
        log(finished)
    return runner


def _use_safe_parts(cfg: Config) -> None:
    """Save checkpoints whole and with a checksum, outlast a full disk, and stop at a loss that is not finite."""
    replace_type(cfg.get('default_hooks', {}), 'CheckpointHook', 'SafeCheckpointHook')
    replace_type(cfg.get('custom_hooks', []), 'EarlyStoppingHook', 'ResumableEarlyStoppingHook')
    replace_type(cfg.get('visualizer', {}), 'LocalVisBackend', 'SafeLocalVisBackend')
    add_hook(cfg, 'LossGuardHook')


def build_test_runner(
    cfg: Config,
    checkpoint: str | None,
    *,
    out: str | None = None,
    show_dir: str | None = None,
    tta: bool = False,
    deploy: bool = False,
    dtype: str = 'fp32',
    trust: bool | None = None,
    overwrite: bool = False,
) -> Runner:
    """Build the Runner that evaluates a checkpoint on a config that went through :func:`prepare`.

    Args:
        checkpoint: The checkpoint file, or 'mmlska://NAME' with a name from the manifest; None where the model of the config brings its
            weights along, as an exported file does.
        out, show_dir, tta, deploy, dtype: Options of ``mmlska test``, which explains them.
        trust: Let checkpoints run code; only those whose maker you know. By default as :func:`mmlska.weights.safe_reading` says, else no.
        overwrite: Replace files of ``out`` and ``show_dir`` that mmlska did not write, or that were changed since; never inputs.

    Raises:
        FileExistsError: If an output is an input of the test or, without ``overwrite``, a file that mmlska did not write.
        FileNotFoundError: If data or the checkpoint are missing.
        ValueError: If a setting does not fit the config.
    """
    if checkpoint is not None:
        path = find_checkpoint(checkpoint)
        # By its name, so that its SHA-256 is checked on what is read of it.
        cfg.load_from = checkpoint if checkpoint.startswith(MANIFEST_SCHEME) else str(path)
        cfg.resume = False
    check_parts(cfg, 'test')
    check_data(cfg, ('test',))
    check_model(cfg, trains=False)
    check_labels(cfg, ('test',))
    settle_samplers(cfg, ('test',))
    settings = changed_settings(cfg, only='model.')  # before mmlska puts its own parts in
    # A checkpoint's state_dict holds the averaged weights already, and the hook would swap them into a folded model by position.
    # And one process tests with whole weights.
    remove_hooks(cfg, 'EMAHook', 'FSDPHook')
    use_dtype(cfg, dtype, training=False)
    if deploy:
        add_hook(cfg, 'DeployHook')
    tta_model = use_tta(cfg) if tta else None
    if show_dir:
        check_folder('--show-dir', show_dir)
        use_overlays(cfg, show_dir)
    if out:
        use_predictions(cfg, out)
    with safe_reading(trust):
        runner = EvaluationRunner.from_cfg(cfg)
    runner.trust = trust
    build_data(runner, cfg, ('test',))
    check_samples(cfg, built_datasets(runner, cfg, ('test',)))
    if out or show_dir:
        guard_outputs(runner, out, show_dir, overwrite=overwrite)
    for line in (data_line(runner, ('test',)), *settings):
        log(line)
    if tta_model is not None:
        runner.register_hook(PrepareTTAHook(tta_cfg=tta_model))
    return runner
