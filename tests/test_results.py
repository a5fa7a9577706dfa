"""Results files that are resumed, sections of pages and pictures."""

import json

import cv2
import pytest

from mmlska.results import add_result, fill_section, new_figure, read_results, resume_results, save_figure, write_json

FACTS = dict(checkpoint_sha256='a', seed=0, sizes=(1, 2))


def test_a_new_results_file_begins_with_its_facts(tmp_path):
    path = tmp_path / 'r.json'
    begun = resume_results(path, 'identity', FACTS, results={})
    assert begun == {'identity': dict(FACTS, sizes=[1, 2]), 'results': {}}
    assert not path.exists()
    write_json(path, dict(begun, results={'clean': 1}, summary={}))
    assert resume_results(path, 'identity', FACTS, results={})['results'] == {'clean': 1}


@pytest.mark.parametrize(
    ('facts', 'named'),
    [
        (dict(FACTS, checkpoint_sha256='b', seed=1), 'checkpoint_sha256, seed'),
        (dict(FACTS, package='p'), 'package'),
        ({key: value for key, value in FACTS.items() if key != 'seed'}, 'seed'),
    ],
)
def test_results_of_something_else_are_refused(tmp_path, facts, named):
    path = write_json(tmp_path / 'r.json', resume_results(tmp_path / 'none.json', 'identity', FACTS, results={}))
    with pytest.raises(ValueError, match=f'r.json holds results of another {named}; give another --out or delete it'):
        resume_results(path, 'identity', facts, results={})


@pytest.mark.parametrize('text', ['[1', '[1]', '{"identity": {}}', '{"identity": 1, "results": {}}', 'é'])
def test_what_is_no_results_file_is_refused(tmp_path, text):
    path = tmp_path / 'r.json'
    path.write_bytes(text.encode('latin-1'))
    with pytest.raises(ValueError, match=r'r.json is no results file: .*; name another file or move it away'):
        resume_results(path, 'identity', FACTS, results={})


def test_an_entry_is_added_to_what_others_wrote(tmp_path):
    path = tmp_path / 'r.json'
    assert read_results(path) == {}
    add_result(path, 'a', 1)
    add_result(path, 'b', 2)
    assert add_result(path, 'a', 3) == {'a': 3, 'b': 2} == json.loads(path.read_text())


def test_only_the_named_section_is_replaced(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('before\n<!-- t -->\nold\n<!-- end -->\n<!-- s -->\nkept\n<!-- end -->\n')
    fill_section(page, 't', r'new \1')
    assert page.read_text() == 'before\n<!-- t -->\nnew \\1\n<!-- end -->\n<!-- s -->\nkept\n<!-- end -->\n'
    with pytest.raises(ValueError, match="has 0 sections 'x'"):
        fill_section(page, 'x', 'new')


def test_pictures_are_replaced_whole(tmp_path):
    """A picture that cannot be made leaves the old one and no temporary file."""
    path = tmp_path / 'a.png'
    save_figure(new_figure(1, 1), path)
    before = path.read_bytes()
    broken = new_figure(1, 1)
    broken.text(0, 0, r'$\nonsense{$')
    with pytest.raises(ValueError, match='nonsense'):
        save_figure(broken, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ['a.png']
    assert cv2.imread(str(path)).shape[:2] == (110, 110)
