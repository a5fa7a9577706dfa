"""The manifest answers for every config, and its weights are fetched, checked and converted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from published_layouts import SMALL, published

from mmlska import VAN_LSKA
from mmlska.designs import ARCHS
from mmlska.weights import WeightsError, file_sha256, load_manifest, load_pretrained, manifest, published_names

CONFIGS = sorted((Path(__file__).parents[2] / 'configs').rglob('*van_lska*.py'))
KEYS = {'name', 'arch', 'k_size', 'attention', 'by', 'licence', 'page', 'source', 'url', 'sha256', 'top1'}


@pytest.mark.parametrize('config', CONFIGS, ids=lambda p: p.stem)
def test_every_config_is_answered(config):
    backbone = Config.fromfile(config).model.backbone
    arch, k_size = backbone.arch, backbone.get('k_size', 23)
    attention = backbone.get('attention', 'lska')
    if isinstance(arch, dict):
        pytest.skip('a backbone of its own, for which nothing can be published')
    assert is_answered(arch, k_size, attention)


def is_answered(arch: str, k_size: int, attention: str) -> bool:
    """Either published or said not to be; never both."""
    refused = any(
        arch in row['arch'] and k_size in row['k_size'] and attention == row['attention']
        for row in load_manifest()['not_published']
    )
    wanted = dict(arch=arch, k_size=k_size, attention=attention)
    published = any(wanted.items() <= entry.items() for entry in load_manifest()['published'])
    return published != refused


@pytest.mark.parametrize('attention', ['lska', 'lka', 'lska_trivial', 'lka_trivial'])
@pytest.mark.parametrize('k_size', [7, 11, 23, 35, 41, 53])
@pytest.mark.parametrize('arch', ARCHS)
def test_every_network_of_the_papers_is_answered(arch, k_size, attention):
    assert is_answered(arch, k_size, attention)


def test_entries_are_complete_and_their_hashes_are_those_of_the_links():
    names = published_names()
    assert len(names) == len(set(names))
    for entry in load_manifest()['published']:
        assert set(entry) == KEYS
        assert entry['page'].startswith('https://')
        assert entry['url'] is None or entry['url'].startswith('https://')
        in_name = re.search(r'-([0-9a-f]{8})\.pth$', entry['url'] or '')
        assert entry['sha256'] == (in_name[1] if in_name else None)


@pytest.fixture
def entry(tmp_path, monkeypatch):
    """An entry of the manifest whose link is a local file."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    checkpoint, tensors = published('mmpretrain', attention='lka')
    torch.save(checkpoint, tmp_path / 'van.pth')
    entry = dict(manifest.find_entry('van_t_mmpretrain_in1k'))
    entry.update(name='local', url=(tmp_path / 'van.pth').as_uri(), sha256=file_sha256(tmp_path / 'van.pth')[:8])
    monkeypatch.setattr(manifest, 'load_manifest', lambda: dict(published=[entry], not_published=[]))
    return entry, tensors


def test_weights_with_a_link_are_fetched_and_converted(entry):
    _, tensors = entry
    found = load_pretrained('local')
    assert all(torch.equal(found[name], t) for name, t in tensors.items())
    assert set(found) == set(tensors)


def test_an_init_cfg_can_name_them(entry):
    _, tensors = entry
    net = VAN_LSKA(SMALL, attention='lka', init_cfg=dict(type='Pretrained', checkpoint='mmlska://local'))
    net.init_weights()
    assert all(torch.equal(t, tensors[name]) for name, t in net.state_dict().items())


def test_another_file_than_the_published_one_is_refused(entry):
    entry[0]['sha256'] = '00000000'
    with pytest.raises(WeightsError, match='is not the file that was published.*do not use it'):
        load_pretrained('local')


def test_weights_without_a_link_name_the_page():
    text = 'lska_t_in1k has no direct link; download it from https://portland-my.sharepoint.com/'
    with pytest.raises(WeightsError, match=text):
        load_pretrained('lska_t_in1k')
    text = "no published weights are called 'lska'; choose one of van_lska_t_k23_tiny_imagenet, van_lska_t_k23_tiny_imagenet_112, lska_t"
    with pytest.raises(WeightsError, match=text):
        load_pretrained('lska')
