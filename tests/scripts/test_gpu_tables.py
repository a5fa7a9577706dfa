"""The tables of the GPU check come from its results, and a page is written whole or not at all."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / 'docs/benchmark.md'


def fill(page: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, 'scripts/gpu_tables.py', str(page), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_page_holds_what_the_results_say(tmp_path):
    page = tmp_path / 'page.md'
    shutil.copy(PAGE, page)
    assert fill(page).returncode == 0
    assert page.read_text() == PAGE.read_text()
    # Emptied, the tables come back.
    head, table = page.read_text().split('<!-- gpu profile gpu_check_h100_7 -->\n')
    page.write_text(f'{head}<!-- gpu profile gpu_check_h100_7 -->\n{table[table.index("<!-- end -->") :]}')
    assert fill(page).returncode == 0
    assert page.read_text() == PAGE.read_text()


@pytest.mark.parametrize(
    ('section', 'text'),
    [
        ('gpu speed gpu_check_h100_2', 'with a stage of operators, networks, profile, kernels'),
        ('gpu networks', 'must be gpu STAGE NAME'),
        ('gpu networks nothing', 'nothing.json of section'),
        ('gpu networks gpu_check_h100_4', "gpu_check_h100_4.json has no whole results of stage 'networks'"),
    ],
)
def test_wrong_section_leaves_the_page_as_it_was(tmp_path, section, text):
    page = tmp_path / 'page.md'
    page.write_text(f'<!-- gpu profile gpu_check_h100_7 -->\n<!-- end -->\n<!-- {section} -->\nold\n<!-- end -->\n')
    before = page.read_text()
    done = fill(page)
    assert done.returncode == 2
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert page.read_text() == before


def test_page_without_sections(tmp_path):
    done = fill(tmp_path)
    assert 'is no file; give a Markdown page' in done.stderr
    (tmp_path / 'page.md').write_text('nothing')
    done = fill(tmp_path / 'page.md')
    assert done.returncode == 2
    assert 'has no section; mark one by' in done.stderr
