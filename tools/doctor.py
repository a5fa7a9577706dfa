"""Tell what is installed, what works here, and what mends the rest; exit status 1 if no model can be trained."""

import argparse
import importlib.util
import os
import sys
from pathlib import Path


def load(name):
    """A module of mmlska without mmlska itself, which cannot be imported where MMEngine is broken."""
    package = importlib.util.find_spec('mmlska')
    folder = Path(package.submodule_search_locations[0]) if package else Path(__file__).resolve().parents[1] / 'mmlska'
    spec = importlib.util.spec_from_file_location(f'mmlska_{name}', folder / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--json', action='store_true', help='for programs')
    args = parser.parse_args()
    threads = load('threads')
    reason = threads.thread_reason(os.environ)
    threads.prepare_tool()  # before the report imports torch
    report = load('environment').environment_report(threads=reason)
    print(report.to_json() if args.json else report.to_text())
    sys.exit(0 if report.main_job_works else 1)


if __name__ == '__main__':
    main()
