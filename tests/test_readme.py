"""What the README says is so."""

import importlib
import json
import re
import runpy
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from tool_help import options_of

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / 'README.md').read_text(encoding='utf-8')


def section(name: str, page: str = 'README.md') -> str:
    text = (ROOT / page).read_text(encoding='utf-8')
    return re.search(rf'(?s)<!-- {name} -->\n(.*?)<!-- end -->', text)[1].strip()


@pytest.mark.parametrize(
    ('page', 'name', 'module', 'function', 'results'),
    [
        ('README.md', 'config table', 'mmlska.analysis.cost_tables', 'config_table', 'complexity.json'),
        ('README.md', 'demo table', 'scripts/run_demos.py', 'table', 'demo.json'),
        ('README.md', 'own data table', 'scripts/run_demos.py', 'table', 'own_data.json'),
        ('README.md', 'fine-tuning table', 'scripts/run_finetuning.py', 'table', 'finetuning.json'),
        ('README.md', 'pretraining table', 'scripts/run_finetuning.py', 'table', 'pretrain.json'),
        (
            'docs/analysis.md',
            'design table',
            'mmlska.analysis.cost_tables',
            'design_tables',
            'complexity_attention.json',
        ),
        (
            'docs/analysis.md',
            'latency table',
            'mmlska.analysis.cost_tables',
            'design_tables',
            'latency_designs_cpu.json',
        ),
        ('docs/study.md', 'study table', 'scripts/run_study.py', 'tables', 'study.json'),
    ],
)
def test_tables_are_those_of_the_results_files(page, name, module, function, results):
    if module.endswith('.py'):
        make = runpy.run_path(str(ROOT / module))[function]
    else:
        make = getattr(importlib.import_module(module), function)
    assert section(name, page) == make(json.loads((ROOT / 'docs/results' / results).read_text()))


def test_the_config_snippet_builds(tmp_path):
    snippet = re.search(r'(?s)```python\n(custom_imports.*?)```', README)[1]
    base = ROOT / 'configs/retinanet_van_lska_s.py'
    (tmp_path / 'own.py').write_text(f'_base_ = {str(base)!r}\n{snippet}')
    cfg = Config.fromfile(tmp_path / 'own.py')
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    assert model.backbone.embed_dims == [32, 64, 160, 256]


def test_named_files_exist():
    named = set(re.findall(r'(?:configs|tools|scripts|docs)/[\w/]+\.(?:py|sh|jpg|json)', README))
    assert len(named) > 8
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_named_options_exist(tool, monkeypatch, capsys):
    line = re.search(rf'(?s)- {tool}: (.*?)(\n- |\n\n)', README)[1]
    named = set(re.findall(r'--[a-z0-9-]+', line))
    assert named
    assert named <= options_of(f'{tool}.py', monkeypatch, capsys)


def test_options_of_its_commands_exist(monkeypatch, capsys):
    """Each line that starts a tool, with those that it goes on in."""
    commands = re.findall(r'python tools/(\w+\.py)((?:[^`\n]*\\\n)*[^`\n#]*)', README)
    named = {tool: set() for tool, _ in commands}
    for tool, words in commands:
        named[tool] |= set(re.findall(r'--[a-z0-9-]+', words))
    assert sum(map(len, named.values())) > 15
    for tool, options in named.items():
        assert options <= options_of(tool, monkeypatch, capsys), tool
