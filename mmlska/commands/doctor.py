"""Tell what is installed, what works here, and how to fix the rest; exit status 1 if no model can be trained."""

import argparse
import os
import sys

from mmlska_command import load_alone


def make_parser() -> argparse.ArgumentParser:
    parser = load_alone('command_line').tool_parser(__doc__)
    parser.add_argument('--json', action='store_true', help='for programs')
    return parser


def main() -> None:
    args = make_parser().parse_args()
    threads = load_alone('threads')
    reason = threads.thread_reason(os.environ)
    threads.prepare_tool()  # before the report imports torch
    report = load_alone('environment').environment_report(threads=reason)
    print(report.to_json() if args.json else report.to_text())
    sys.exit(0 if report.main_job_works else 1)
