"""Large annotation files are compared by their categories alone."""

import json

import pytest

from mmlska.engine import label_checks


@pytest.mark.parametrize('first', [True, False])
def test_the_categories_of_a_large_file(tmp_path, monkeypatch, first):
    named = dict(categories=[dict(id=1, name='cat'), dict(id=2, name='dög')])
    # Other things may have the word as a key.
    others = dict(images=[dict(id=1, categories=[3, 4])], annotations=[dict(id=1, note='"categories": [')])
    path = tmp_path / 'large.json'
    path.write_text(json.dumps(named | others if first else others | named, indent=1), encoding='utf-8')
    monkeypatch.setattr(label_checks, '_WHOLE_BYTES', 0)
    label_checks._check_file(path, ('cat', 'dög'), 'train')
    with pytest.raises(ValueError, match=r"not cow of the config.* set metainfo.classes=\('cat', 'dög'\) in all"):
        label_checks._check_file(path, ('cat', 'dög', 'cow'), 'train')
    path.write_text('{"categories": [{"id": 1, "name": "cat"}', encoding='utf-8')  # for the data set to refuse
    label_checks._check_file(path, ('dog',), 'train')
