"""What the runner says about the checkpoints that it loads."""

import re

import torch
from small_run import runner_of

from mmlska.weights import LAYOUTS, file_sha256


def test_a_loaded_checkpoint_has_a_line_in_the_log(config, whole, tmp_path):
    path = whole[1] / 'iter_4.pth'
    content = torch.load(path, weights_only=False)
    del content['state_dict']['decode_head.conv_seg.bias']
    torch.save(content, tmp_path / 'part.pth')
    runner = runner_of(config, tmp_path, {'load_from': str(path)})
    runner.load_or_resume()
    runner.load_checkpoint(str(tmp_path / 'part.pth'))
    log = next(tmp_path.glob('*/*.log')).read_text()
    total = len(runner.model.state_dict())
    layout, digest = LAYOUTS['mmlska'].text, file_sha256(path)[:16]
    assert f'EncoderDecoder: {total}/{total} tensors loaded, {layout}, from {path} (sha256 {digest})\n' in log
    assert re.search(rf': {total - 1}/{total} .*; missing or of another shape: decode_head', log)
