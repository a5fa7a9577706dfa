"""No class name, folder or setting becomes code in a config that is written and read again."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'tests/tools')]
from own_sets import MASK_RCNN, UPERNET, adapt, mask, photo, simple  # noqa: E402
from small_run import runner_of, write_config  # noqa: E402
from test_train_test import ARCH, ok, run  # noqa: E402

from mmlska.engine.config import load_config  # noqa: E402
from mmlska.engine.config_text import SafeConfig  # noqa: E402
from mmlska.engine.launch import prepare  # noqa: E402

# MMEngine puts '1|' for the first and, as the default is part of its pattern, for every `'}}` too: the second one is code then.
OPEN, RUN = '{{$ZZQ:1|}}', '}}__import__("os").mkdir("canary"),#'
NAMES = (
    *(OPEN, RUN, "it's", '"', '\\', '\\N{DASH}', "'''", '"""', '# yapf: disable', 'a\nb', 'a\r\nb', 'tab\t', '\0', ''),
    *('{{{', '{ {', '{%', '{{{{', '}}', '{', '{{ fileDirname }}', '{{_base_.x}}', "{{'$HOME:1'}}", '{{$HOME:x}}'),
    *(
        '_base_',
        '_delete_',
        '_scope_',
        'type',
        'class',
        'dict',
        '__class__',
        'self',
        '苹果',
        'ﬁ',
        '\ud800',
        '\x85',
        '\u2028',
    ),
    *('%s', '${HOME}', '1', 'null', 'yes', '!!python/object:os.system', '&a', '*a', 'x' * 100_000, 'a b ' * 100 + '{{'),
)


@pytest.fixture(autouse=True)
def canary(tmp_path, monkeypatch):
    """Where the code in these tests leaves its trace."""
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    yield tmp_path / 'here/canary'
    assert not (tmp_path / 'here/canary').exists(), 'a string was run'


def segments(root: Path, images='images', masks='masks') -> Path:
    for i in range(4):
        photo(root / images / f'{i}.png')
        mask(root / masks / f'{i}.png', [[0, 1] * 40] * 60)
    return root


def coco_classes(tmp_path):
    cfg, _ = adapt(MASK_RCNN, simple(tmp_path / 'set', categories=((1, OPEN), (2, RUN))), tmp_path / 'work')
    return cfg, [OPEN, RUN]


def mask_classes(tmp_path):
    root = segments(tmp_path / 'set')
    (root / 'classes.json').write_text(json.dumps([OPEN, RUN]))
    cfg, _ = adapt(UPERNET, root, tmp_path / 'work')
    return cfg, [OPEN, RUN]


def folder_names(tmp_path):
    root = segments(tmp_path / OPEN / RUN, RUN, f'masks {OPEN}')
    cfg, _ = adapt(UPERNET, root, tmp_path / 'work')
    return cfg, [RUN, f'masks {OPEN}', f'{root}/']


def palette_names(tmp_path):
    root = segments(tmp_path / 'set')
    (tmp_path / OPEN).mkdir()
    palette = tmp_path / OPEN / f'{RUN}.txt'
    # RUN's end would begin a comment in a list of names.
    palette.write_text(f'{OPEN}\n{RUN.removesuffix(",#")}\n')
    cfg, _ = adapt(UPERNET, root, tmp_path / 'work', palette=str(palette))
    return cfg, [OPEN, RUN.removesuffix(',#')]


def settings(tmp_path):
    options = {'model.train_cfg.note': OPEN, 'custom': [RUN]}
    cfg = load_config(MASK_RCNN, options)
    prepare(cfg, MASK_RCNN, work_dir=RUN, launcher='none', seed=0)
    return cfg, [OPEN, RUN]


@pytest.mark.parametrize('ending', ['py', 'json', 'yml'])
@pytest.mark.parametrize('variant', [coco_classes, mask_classes, folder_names, palette_names, settings])
def test_strings_of_data_are_read_back_and_never_run(tmp_path, variant, ending):
    cfg, strings = variant(tmp_path)
    cfg.dump(tmp_path / f'c.{ending}')
    again = load_config(str(tmp_path / f'c.{ending}'))
    plain = (
        (lambda c: json.loads(json.dumps(c.to_dict()))) if ending == 'json' else (lambda c: c.to_dict())
    )  # no tuples
    assert plain(again) == plain(cfg)
    assert all(f'"{json.dumps(text)[1:-1]}"' in json.dumps(again.to_dict()) for text in strings)
    if ending == 'py':  # what checkpoints and logs hold
        assert Config.fromstring(cfg.pretty_text, '.py').to_dict() == cfg.to_dict()


@pytest.mark.parametrize('ending', ['py', 'json', 'yml'])
def test_any_string_as_a_value_and_as_a_key(tmp_path, ending):
    cfg = load_config(MASK_RCNN)
    cfg.names, cfg.by_name = list(NAMES), {name: {name: name} for name in NAMES}
    cfg.pairs, cfg.numbers = [(name, [name]) for name in NAMES], [float('inf'), 1e-300, -3, None, True]
    if ending == 'yml':  # no YAML holds half a character
        cfg.names.remove('\ud800')
        cfg.pairs = [pair for pair in cfg.pairs if pair[0] != '\ud800']
        cfg.by_name.pop('\ud800')
    cfg.dump(tmp_path / f'c.{ending}')
    again = load_config(str(tmp_path / f'c.{ending}'))
    assert again.names == cfg.names
    assert again.by_name.to_dict() == cfg.by_name.to_dict()
    assert [tuple(pair) for pair in again.pairs] == cfg.pairs
    assert again.numbers == cfg.numbers


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('_base_', 'here/other.py'),
        ('filename', 'x'),
        ('a-b', 1),
        ('dict', OPEN),
        ('class', 1),
        (RUN, 1),
        ('_deprecation_', {'expected': 'x'}),
        ('hook', print),
    ],
)
def test_what_would_read_back_otherwise_is_named_and_nothing_is_written(tmp_path, key, value):
    cfg = load_config(MASK_RCNN)
    cfg[key] = value
    (tmp_path / 'here/other.py').write_text('import os; os.mkdir("canary")')
    kept = tmp_path / 'c.py'
    kept.write_text('old = 1\n')
    with pytest.raises(ValueError) as error:
        cfg.dump(kept)
    assert key in str(error.value) or 'not callable' in str(error.value)
    assert '\n' not in str(error.value)
    assert kept.read_text() == 'old = 1\n'
    assert sorted(os.listdir(tmp_path)) == ['c.py', 'here']


def test_a_link_is_not_written_through(tmp_path):
    (tmp_path / 'victim').write_text('mine')
    (tmp_path / 'c.py').symlink_to(tmp_path / 'victim')
    with pytest.raises(FileExistsError, match='link'):
        load_config(MASK_RCNN).dump(tmp_path / 'c.py')
    assert (tmp_path / 'victim').read_text() == 'mine'


@pytest.mark.parametrize('folder', ["x' + str(__import__('os').mkdir('canary')) + '", 'a\\x27', 'a\nb'])
def test_the_data_folder_of_the_environment_is_no_code(monkeypatch, folder):
    monkeypatch.setenv('MMLSKA_DATA', folder)
    with pytest.raises(ValueError, match='MMLSKA_DATA='):
        load_config(MASK_RCNN)


@pytest.mark.parametrize('name', ['mask_rcnn_van_lska_b', 'upernet_van_lska_t', 'van_lska_t_imagenet'])
def test_configs_of_the_repository_are_written_as_mmengine_does(name):
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    assert SafeConfig.of(cfg).pretty_text == cfg.pretty_text


def test_classes_and_numpy_numbers_are_written_by_name_and_value(tmp_path):
    import numpy as np

    cfg = load_config(MASK_RCNN)
    cfg.kinds = dict(
        layer=torch.nn.ReLU, rate=np.float32(0.5), count=np.int64(3), size={1, 2}, file=Path('a/b'), out=range(4)
    )
    cfg.dump(tmp_path / 'c.py')
    again = load_config(str(tmp_path / 'c.py')).kinds.to_dict()
    layer = 'torch.nn.modules.activation.ReLU'
    assert again == dict(layer=layer, rate=0.5, count=3, size={1, 2}, file='a/b', out=(0, 1, 2, 3))


def test_a_checkpoint_to_resume_holds_no_code(scenes, tmp_path):
    config = write_config(scenes, tmp_path)
    options = {'train_cfg.max_iters': 2, 'val_evaluator': dict(type='IoUMetric', iou_metrics=['mIoU'])}
    runner = runner_of(config, tmp_path / 'first', {**options, 'note': [OPEN, RUN]})
    runner.train()
    checkpoint = torch.load(tmp_path / 'first/iter_2.pth', weights_only=False)
    assert Config.fromstring(checkpoint['meta']['cfg'], '.py').note == [OPEN, RUN]
    checkpoint['meta']['config'] = '__import__("os").mkdir("canary")'
    torch.save(checkpoint, tmp_path / 'bad.pth')
    again = runner_of(
        config, tmp_path / 'second', {**options, 'train_cfg.max_iters': 3}, resume=str(tmp_path / 'bad.pth')
    )
    again.train()
    assert again.iter == 3


@pytest.mark.parametrize('name', ['a\n..', 'b\rc', ' d'])
def test_a_file_name_adds_no_line_to_the_list_of_images(tmp_path, name):
    root = segments(tmp_path / 'set')
    photo(root / f'images/{name}.png')
    mask(root / f'masks/{name}.png', [[0, 1] * 40] * 60)
    with pytest.raises(ValueError) as error:
        adapt(UPERNET, root, tmp_path / 'work')
    assert repr(name)[1:-1] in str(error.value)
    assert '\n' not in str(error.value)


def test_names_with_spaces_before_the_number_are_found(tmp_path):
    root = tmp_path / 'set'
    for i in range(4):
        photo(root / f'images/scan 1{i} -rgb.png')
        mask(root / f'masks/scan 1{i} _mask.png', [[0, 1] * 40] * 60)
    cfg, _ = adapt(UPERNET, root, tmp_path / 'work')
    dataset = cfg.train_dataloader.dataset
    names = Path(dataset.ann_file).read_text().split('\n')[:-1]
    assert all((root / dataset.data_prefix.img_path / (name + dataset.img_suffix)).is_file() for name in names)


def test_a_class_name_moves_no_cursor(tmp_path):
    names = ((1, '\x1b]0;owned\x07'), (2, 'a\nb'))
    _, lines = adapt(MASK_RCNN, simple(tmp_path / 'set', categories=names), tmp_path / 'work')
    assert all(line.isprintable() for line in lines)


@pytest.mark.slow(25)
def test_the_tools_train_and_test_a_set_whose_names_are_code(tmp_path):
    cwd = tmp_path / 'here'
    simple(tmp_path / 'set', categories=((1, OPEN), (2, RUN)))
    (cwd / 'small.py').write_text(
        f'_base_ = {str(ROOT / "configs/demo/retinanet_van_lska_t_scenes.py")!r}\n'
        f'model = dict(backbone=dict(arch={ARCH}), neck=dict(in_channels=[8] * 4))\n'
        'default_hooks = dict(checkpoint=dict(interval=1))\n'
    )
    set_note = ['--cfg-options', 'note={{$HOME:x}}']
    ok(
        run(
            'train.py',
            'small.py',
            '--no-report',
            '--data',
            tmp_path / 'set',
            '--epochs',
            1,
            '--work-dir',
            RUN,
            *set_note,
            cwd=cwd,
        )
    )
    written = [cwd / RUN / 'small.py', *(cwd / RUN).glob('*/vis_data/config.py')]
    assert len(written) == 2
    checkpoint = (cwd / RUN / 'last_checkpoint').read_text().strip()
    ok(run('test.py', f'{RUN}/small.py', checkpoint, '--work-dir', 'test', cwd=cwd))
    written += [*(cwd / 'test').glob('*/small.py'), *(cwd / 'test').glob('*/vis_data/config.py')]
    assert len(written) == 4
    for path in written:
        cfg = load_config(str(path))
        assert cfg.test_dataloader.dataset.metainfo.classes == (OPEN, RUN)
        assert cfg.note == '{{$HOME:x}}'
