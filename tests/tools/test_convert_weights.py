"""The command line that converts weights, called as a user calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from evil_files import Payload

from mmlska import VAN_LSKA
from mmlska.weights import convert_state_dict, file_sha256, load_pretrained, read_checkpoint, shipped_entries
from mmlska.weights.convert import convert_file, describe_file, read_source

TOOL = Path(__file__).parents[2] / 'tools' / 'convert_weights.py'
ARCH = dict(embed_dims=[8, 12], depths=[1, 1], ffn_ratios=[2, 2])


def run(*args) -> subprocess.CompletedProcess:
    command = [sys.executable, str(TOOL), *map(str, args)]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'}, timeout=300
    )


@pytest.fixture
def weights():
    return VAN_LSKA(ARCH, out_indices=(0, 1)).state_dict()


@pytest.fixture
def classification(weights, tmp_path):
    path = tmp_path / 'van.pth.tar'
    head = {'head.weight': torch.zeros(10, 12), 'head.bias': torch.zeros(10)}
    torch.save(dict(epoch=3, state_dict={**convert_state_dict(weights, to='classification'), **head}), path)
    return path


def same(path: Path, weights: dict) -> bool:
    content = read_checkpoint(path).content
    content = content.get('state_dict', content)
    return set(content) == set(weights) and all(torch.equal(content[k], v) for k, v in weights.items())


def test_there_and_back_on_the_command_line(classification, weights, tmp_path):
    ours, theirs = tmp_path / 'ours.safetensors', tmp_path / 'theirs.pth'
    done = run(classification, ours)
    assert (done.returncode, done.stdout) == (0, f'written: {ours}\n'), done.stderr
    assert same(ours, weights)
    convert_file(ours, theirs, to='classification')
    assert same(theirs, convert_state_dict(weights, to='classification'))
    convert_file(theirs, ours, overwrite=True)
    assert same(ours, weights)


def test_inspect_tells_all(classification):
    done = run('--inspect', classification)
    assert done.returncode == 0, done.stderr
    told = {line[:16].strip(): line[16:] for line in done.stdout.splitlines()}
    assert told['sha256'] == file_sha256(classification)
    assert told['arch'] == str(ARCH)
    assert (told['k_size'], told['attention'], told['in_channels'], told['classes']) == ('23', 'lska', '3', '10')
    assert told['layout'].startswith('classification')
    assert (told['finite'], told['averaged (EMA)'], told['other parts']) == ('yes', 'no', '-')


def test_published_weights_by_their_name(tmp_path):
    name = 'van_lska_t_k23_tiny_imagenet'
    (entry,) = [entry for entry in shipped_entries() if entry['name'] == name]
    told = describe_file(read_source(f'mmlska://{name}'))
    assert (told['sha256'], told['arch'], told['k_size']) == (entry['sha256'], 't', '23')
    assert same(convert_file(f'mmlska://{name}', tmp_path / 'w.pth'), load_pretrained(name))
    with pytest.raises(ValueError, match="no published weights are called 'nothing'; choose one of"):
        convert_file('mmlska://nothing', tmp_path / 'x.pth')


def test_errors_are_one_line(tmp_path, classification):
    done = run(tmp_path / 'nothing.pth', tmp_path / 'x.pth')
    assert done.returncode == 2
    assert done.stderr.count('\n') == 1
    assert 'no checkpoint file' in done.stderr
    assert 'give a file to write, or --inspect' in run(classification).stderr


def test_a_whole_model_needs_the_word(weights, tmp_path):
    source, target = tmp_path / 'detector.pth', tmp_path / 'backbone.pth'
    whole = {f'backbone.{k}': v for k, v in weights.items()}
    torch.save(dict(meta={}, state_dict={**whole, 'neck.bias': torch.zeros(1)}), source)
    with pytest.raises(ValueError, match='detector.pth: holds neck as well; add --extract-backbone'):
        convert_file(source, target)
    assert not target.exists()
    assert same(convert_file(source, target, extract_backbone=True), weights)


def test_publishing_names_the_hash_and_leaves_one_file(classification, weights, tmp_path):
    written = convert_file(classification, tmp_path / 'out/van.pth', publish=True)
    assert written.name == f'van-{file_sha256(written)[:8]}.pth'
    assert [p.name for p in (tmp_path / 'out').iterdir()] == [written.name]
    assert same(written, weights)


def test_nothing_is_overwritten_or_converted_from_bad_weights(classification, tmp_path):
    target = tmp_path / 'van.pth'
    target.write_text('old')
    with pytest.raises(FileExistsError, match='van.pth exists; choose another name or add --overwrite'):
        convert_file(classification, target)
    content = torch.load(classification, weights_only=True)
    content['state_dict']['norm1.bias'][0] = float('nan')
    torch.save(content, classification)
    with pytest.raises(ValueError, match='the file holds NaN or infinity in norm1.bias'):
        convert_file(classification, target, overwrite=True)
    assert target.read_text() == 'old'
    assert describe_file(read_checkpoint(classification))['finite'].startswith(
        'NO: it holds NaN or infinity in norm1.bias'
    )
    with pytest.raises(ValueError, match="to='timm' is unknown; choose one of mmlska, classification"):
        convert_file(classification, target, to='timm')


def test_an_unsafe_file_is_converted_only_when_trusted(weights, tmp_path):
    source, target, proof = tmp_path / 'unsafe.pth', tmp_path / 'safe.safetensors', tmp_path / 'proof'
    torch.save(dict(state_dict=dict(weights), extra=Payload(proof)), source)
    done = run(source, target)
    assert done.returncode == 2
    assert 'asks for posix.system' in done.stderr
    assert not proof.exists()
    assert not target.exists()
    assert same(convert_file(source, target, trust=True), weights)
    assert proof.exists()
