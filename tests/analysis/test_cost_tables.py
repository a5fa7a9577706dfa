"""What the counts look like as tables, and what is refused before anything is counted."""

import pytest

from mmlska.analysis.cost_tables import config_table, count_configs, count_designs, design_tables

COST = dict(parameters=1_500_000, flops=2_500_000_000, activations=3_500_000, peak_memory=4_500_000)


def counts(k_sizes, **more):
    rows = [
        dict(COST, arch='t', attention=attention, k_size=k, **more) for attention in ('lska', 'lka') for k in k_sizes
    ]
    others = [dict(COST, name='ResNet-50', **more), dict(name='Swin-T', missing='mmdet is not installed')]
    return dict(designs=rows, others=others, **({'latency': 'seconds'} if more else {}))


def test_a_config_is_a_row_with_its_input_as_width_x_height():
    table = config_table({'retinanet': dict(COST, input_shape=(800, 1280), parts={})})
    assert table.splitlines()[2] == '| `retinanet` | 1280x800 | 1.50 | 2.5 |'


def test_designs_stand_side_by_side_over_the_shown_kernel_sizes():
    first, second = design_tables(counts([7, 11, 23])).split('\n\n')
    assert first.splitlines() == [
        '| parameters, M / FLOPs, G | lska | lka |',
        '| --- | --: | --: |',
        '| VAN-T, K = 7 | 1.50 / 2.50 | 1.50 / 2.50 |',
        '| VAN-T, K = 23 | 1.50 / 2.50 | 1.50 / 2.50 |',
    ]
    assert second.splitlines()[2:] == [
        '| VAN-T, lska, K = 23 | 1.50 | 2.50 | 3.5 | 4.5 |',
        '| VAN-T, lka, K = 23 | 1.50 | 2.50 | 3.5 | 4.5 |',
        '| ResNet-50 | 1.50 | 2.50 | 3.5 | 4.5 |',
        '| Swin-T | mmdet is not installed |  |  |  |',
    ]


def test_times_are_a_column_where_they_were_measured():
    first, second = design_tables(counts([11], latency=0.0125)).split('\n\n')
    assert '| VAN-T, K = 11 | 1.50 / 2.50 / 12.5 | 1.50 / 2.50 / 12.5 |' in first  # none of the shown sizes: all
    assert second.splitlines()[0].endswith('| peak memory, MB | latency, ms |')


def test_wrong_settings():
    with pytest.raises(ValueError, match='image of 0x64 pixels; height and width must be positive'):
        count_designs(['t'], [7], ['lska'], (0, 64))
    with pytest.raises(FileNotFoundError, match='config nowhere.py does not exist'):
        count_configs(['nowhere.py'])
