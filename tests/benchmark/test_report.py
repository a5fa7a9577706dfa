"""Tables of results files, in the pages too."""

import json
import re
from pathlib import Path

import pytest

from mmlska.benchmark.report import table

ROOT = Path(__file__).resolve().parents[2]


def test_table_is_grouped_and_has_no_empty_columns():
    def record(k_size, dtype, which):
        contenders = {'published': {'median': 2.0}, 'mmlska': {'median': 1.0}}
        return {
            'op': 'lska',
            'k_size': k_size,
            'input': [1, 8, 4, 4],
            'dtype': dtype,
            'pass': which,
            'contenders': contenders,
            'copy_bytes_per_second': 1e9,
        }

    cases = [(23, 'bfloat16', 'forward'), (23, 'float32', 'forward+backward'), (23, 'float32', 'forward')]
    records = [record(*settings) for settings in [*cases, (7, 'float32', 'forward')]]
    header, _, *rows = table({'records': records}).splitlines()
    assert header == '| case | dtype | pass | published, ms | mmlska, x | mmlska, ms | copy |'
    assert [row.split(' | ')[:3] for row in rows] == [
        ['| lska K=7, 1x8x4x4', 'float32', 'forward'],
        ['| lska K=23, 1x8x4x4', 'float32', 'forward'],
        ['| lska K=23, 1x8x4x4', 'float32', 'forward+backward'],
        ['| lska K=23, 1x8x4x4', 'bfloat16', 'forward'],
    ]


def test_copy_is_a_share_of_the_bandwidth_of_the_records_own_run():
    contenders = {'published': {'median': 2.0}, 'mmlska': {'median': 1.0}}  # 2 * 4 * 125 bytes in a millisecond: 1 MB/s
    record = {'op': 'lska', 'input': [1, 125], 'dtype': 'float32', 'pass': 'forward', 'contenders': contenders}
    runs = [{'copy_bytes_per_second': 2e6}, {'copy_bytes_per_second': 1e7}, {}]
    rows = table({'records': [{**record, **run} for run in runs], 'copy_bytes_per_second': 4e6}).splitlines()[2:]
    assert [row.split(' | ')[-1] for row in rows] == ['50% |', '10% |', ' |']


@pytest.mark.parametrize(('page', 'least'), [('docs/benchmark.md', 3), ('README.md', 1)])
def test_tables_are_those_of_their_results_files(page, least):
    text = (ROOT / page).read_text(encoding='utf-8')
    sections = re.findall(r'(?s)<!-- (op|backbone|model) benchmark cpu(\w*) -->\n(.*?)<!-- end -->', text)
    filled = 0
    for kind, suffix, found in sections:
        files = (ROOT / 'docs/results').glob(f'{kind}_cpu_torch*.json')
        for file in (f for f in files if re.fullmatch(rf'{kind}_cpu_torch[\d.]+{suffix}', f.stem)):
            assert found.strip() == table(json.loads(file.read_text(encoding='utf-8'))), (kind, suffix)
            filled += 1
    assert filled >= least
    assert sum(bool(found) for *_, found in sections) == filled  # no table without a results file
