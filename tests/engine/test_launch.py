"""What a training is built from."""

from mmengine.config import Config
from small_run import runner_of


def test_the_config_beside_the_checkpoints_starts_anew(config, whole, tmp_path):
    runner = runner_of(config, tmp_path, {'load_from': 'weights.pth'}, resume=str(whole[1] / 'iter_4.pth'))
    dumped = Config.fromfile(tmp_path / 'small.py')
    assert (dumped.resume, dumped.load_from) == (False, 'weights.pth')
    runner.load_or_resume()
    assert runner.iter == 4
