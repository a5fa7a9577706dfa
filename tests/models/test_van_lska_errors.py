"""Wrong arguments of the backbone: one line with the value, what is allowed and the next step."""

from __future__ import annotations

import re

import pytest
import torch
from van_small import TWO, small

from mmlska.models import VAN_LSKA

USER_ERRORS = [
    (dict(arch='xl'), ValueError, r"^arch='xl' is unknown; choose one of 't', 's', 'b', 'l', 'tiny', .*, or give a dict$"),
    (dict(arch=4), TypeError, '^arch must be a str or a dict, got 4 of type int$'),
    (dict(arch=None), TypeError, '^arch must be a str or a dict, got None of type NoneType$'),
    (
        dict(arch=dict(embed_dims=[8], depths=[1])),
        ValueError,
        r"^arch dict has the keys \['depths', 'embed_dims'\]; it needs exactly embed_dims, depths, ffn_ratios$",
    ),
    (dict(arch=dict(TWO, num_heads=[1, 2])), ValueError, "'num_heads'.*; it needs exactly embed_dims, depths, ffn_ratios$"),
    (
        dict(arch=dict(TWO, depths=[1, 1, 1])),
        ValueError,
        "^arch dict has lists of lengths {'embed_dims': 2, 'depths': 3, 'ffn_ratios': 2}; they need one entry for each",
    ),
    (dict(arch=dict(embed_dims=[], depths=[], ffn_ratios=[])), ValueError, 'they need one entry for each stage$'),
    (dict(k_size=24), ValueError, '^k_size=24 cannot be split .*; the nearest that can are 17, 23, 29, 35$'),
    (dict(k_size=24, attention='lka_trivial'), ValueError, '^k_size=24 must be odd and positive'),
    (dict(k_size='23'), TypeError, "^k_size must be an int, got '23' of type str$"),
    (dict(attention='lsk'), ValueError, "^attention='lsk' is unknown; choose one of 'lska', 'lka', 'lska_trivial', 'lka_trivial'$"),
    (dict(attention=dict(type='LSKA')), ValueError, "^attention={'type': 'LSKA'} is unknown; choose one of 'lska', "),
    (dict(in_channels=0), ValueError, '^in_channels=0 must be the number of image channels, 1 or more$'),
    (dict(in_channels='3'), TypeError, "^in_channels must be an int, got '3' of type str$"),
    (dict(in_channels=True), TypeError, '^in_channels must be an int, got True of type bool$'),
    (dict(out_indices=(0, 4)), ValueError, r'^out_indices=\(0, 4\) must be rising stage numbers from 0 to 3'),
    (dict(arch=TWO), ValueError, r'^out_indices=\(0, 1, 2, 3\) must be rising stage numbers from 0 to 1'),
    (dict(out_indices=(-1,)), ValueError, r'^out_indices=\(-1,\) must be rising stage numbers'),
    (dict(out_indices=()), ValueError, r'^out_indices=\(\) must be rising stage numbers'),
    (dict(out_indices=[2, 1]), ValueError, r'^out_indices=\[2, 1\] must be rising stage numbers'),
    (dict(out_indices=[1, 1]), ValueError, r'^out_indices=\[1, 1\] must be rising stage numbers'),
    (dict(out_indices=['0']), ValueError, r"^out_indices=\['0'\] must be rising stage numbers"),
    (dict(frozen_stages=4), ValueError, r'^frozen_stages=4 must be -1 \(none\) to 3 \(all\)$'),
    (dict(frozen_stages=-2), ValueError, r'^frozen_stages=-2 must be -1 \(none\) to 3 \(all\)$'),
    (dict(frozen_stages='1'), TypeError, "^frozen_stages must be an int, got '1' of type str$"),
    (dict(drop_rate=1.0), ValueError, '^drop_rate=1.0 must be at least 0 and below 1$'),
    (dict(drop_path_rate=-0.1), ValueError, '^drop_path_rate=-0.1 must be at least 0 and below 1$'),
    (dict(drop_path_rate=float('nan')), ValueError, '^drop_path_rate=nan must be at least 0 and below 1$'),
    (dict(drop_path_rate='0.1'), TypeError, "^drop_path_rate must be a number, got '0.1' of type str$"),
    (dict(norm_cfg=dict(type='IN')), ValueError, "^norm_cfg has type='IN'; choose one of BN, BN2d, SyncBN, GN, LN, LN2d$"),
    (dict(norm_cfg=dict(eps=1e-5)), ValueError, '^norm_cfg has type=None; choose one of BN, '),
    (dict(norm_cfg=None), TypeError, r"^norm_cfg must be a dict such as dict\(type='BN'\), got None$"),
    (dict(stage_norm_cfg='LN'), TypeError, r"^stage_norm_cfg must be a dict such as dict\(type='BN'\), got 'LN'$"),
    (dict(stage_norm_cfg=dict(type='Layer')), ValueError, "^stage_norm_cfg has type='Layer'; choose one of BN, "),
    (dict(act_cfg=dict(type='Gelu')), ValueError, "^act_cfg has type='Gelu'; choose an activation of torch.nn, such as 'GELU'"),
    (dict(act_cfg=None), TypeError, r"^act_cfg must be a dict such as dict\(type='GELU'\), got None$"),
]  # fmt: skip


@pytest.mark.parametrize(
    ('kwargs', 'error', 'text'), USER_ERRORS, ids=lambda value: str(value) if isinstance(value, dict) else ''
)
def test_user_errors_are_clear(kwargs, error, text):
    with torch.device('meta'), pytest.raises(error, match=text) as caught:
        VAN_LSKA(**kwargs)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('shape', [(1, 4, 32, 32), (3, 32, 32), (1, 1, 3, 32, 32)], ids=str)
def test_wrong_input_is_a_clear_error(shape):
    text = (
        re.escape(f'input of shape {shape} does not fit; VAN_LSKA expects (N, 3, H, W): ')
        + 'set in_channels to the number of channels of your images .*grayscale'
    )
    with pytest.raises(ValueError, match=text):
        small()(torch.rand(shape))
