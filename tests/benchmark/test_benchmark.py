"""tools/benchmark.py writes what the README's tables are made of."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
from small_cases import EAGER

from mmlska.benchmark.report import table
from mmlska.ops.cpu import backend as cpu

ROOT = Path(__file__).resolve().parents[2]


def test_tool_writes_results_chart_and_table(tmp_path):
    readme = tmp_path / 'README.md'
    readme.write_text('<!-- op benchmark cpu -->\n<!-- end -->\n')
    command = [
        sys.executable,
        str(ROOT / 'tools/benchmark.py'),
        'op',
        '--device',
        'cpu',
        '--stages',
        '4',
        '--sizes',
        '64x96',
    ]
    command += ['--contenders', *EAGER, '--seconds', '0.01', '--out', str(tmp_path), '--readme', str(readme)]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    filled = readme.read_text()
    readme.write_text('<!-- op benchmark cpu -->\n<!-- end -->\n')
    subprocess.run([*command, '--redraw'], check=True, cwd=tmp_path, capture_output=True)
    assert readme.read_text() == filled  # nothing was timed anew
    (file,) = tmp_path.glob('op_cpu_torch*.json')
    results = json.loads(file.read_text())
    assert {'date', 'hardware', 'versions', 'allocator'} < set(results)
    assert all({'date', 'copy_bytes_per_second'} < set(record) for record in results['records'])
    assert [(r['op'], r['input'], r['pass']) for r in results['records']] == [
        ('lska', [1, 256, 2, 3], 'forward'),
        ('depthwise_gelu', [1, 1024, 2, 3], 'forward'),
        ('mlp', [1, 256, 2, 3], 'forward'),
        ('lska', [1, 256, 2, 3], 'forward+backward'),
        ('depthwise_gelu', [1, 1024, 2, 3], 'forward+backward'),
        ('mlp', [1, 256, 2, 3], 'forward+backward'),
    ]
    assert all('--stages 4' in record['command'] for record in results['records'])
    assert table(results) in readme.read_text()
    ours = results['records'][3]['contenders']['mmlska']
    if cpu.PROBLEM:
        assert 'MMLSKA_STRICT=1 asks for an error' in ours['failed']  # plain PyTorch is not timed under our name
    else:
        assert f' {2 / 7:.2f}x |' in readme.read_text()  # maps that LSKA keeps of the published 7
    chart = cv2.imread(str(file.with_suffix('.png')))
    assert chart.shape[1] > 600
    assert len({tuple(color) for color in chart.reshape(-1, 3)}) > 20

    # Another run, on another day and machine, leaves what the file says of the first one.
    results.update(date='2001-02-03', hardware='an older machine')
    for record in results['records']:
        record.update(date='2001-02-03', copy_bytes_per_second=1.0)
    file.write_text(json.dumps(results))
    again = [*command[: command.index('--readme')], '--append', '--ops', 'depthwise_gelu', '--passes', 'forward']
    subprocess.run(again, check=True, cwd=tmp_path, capture_output=True)
    both = json.loads(file.read_text())
    *first, new = both.pop('records')
    assert first == results.pop('records')
    assert both == results
    assert new['date'] > '2001-02-03'
    assert new['hardware'] != 'an older machine'
    assert new['copy_bytes_per_second'] > 1e8
    assert 'versions' not in new  # those of the file
