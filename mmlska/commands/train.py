"""Train a detector, segmentor or classifier: mmlska train configs/mask_rcnn_van_lska_t.py."""

from ..cli.errors import user_errors
from ..cli.runner import interruptions
from ..cli.training import parse_training, training_config, training_parser
from ..engine.errors import TrainingError
from ..engine.launch import build_train_runner
from ..engine.processes import leave_processes
from ..report import record_run, report_training
from ..weights import WeightsError

make_parser = training_parser


def main() -> None:
    args = parse_training()
    with user_errors(debug=args.debug):
        runner = build_train_runner(
            training_config(args),
            resume=args.resume,
            dtype=args.dtype,
            auto_scale_lr=args.auto_scale_lr,
            skip_bad_images=args.skip_bad_images,
        )
        if not args.no_report:
            record_run(runner)
    with user_errors(debug=args.debug, kinds=(WeightsError, TrainingError)), interruptions(args.launcher):
        runner.train()
    print(f'checkpoints and logs: {runner.work_dir}')
    if not args.no_report and (page := report_training(runner)):
        print(f'report: {page}')
    leave_processes()
