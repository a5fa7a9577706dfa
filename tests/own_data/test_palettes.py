"""Files with the names and colours of classes."""

import pytest

from mmlska.own_data.palettes import read_palette

PALETTES = {
    'a.json': '{"road": [1, 2, 3], "lake": "#040506"}',
    'b.json': '{"classes": [{"title": "road", "color": "#010203"}, {"name": "lake", "color": [4, 5, 6]}]}',
    'c.txt': 'road 1 2 3\nlake 4 5 6\n',
    'd.csv': 'name,r,g,b\nroad,1,2,3\nlake,4,5,6\n',
    'e.txt': '# label:color_rgb:parts:actions\nroad:1,2,3::\nlake:4,5,6::\n',
    'f.txt': '1 2 3 road\n4 5 6 lake\n',
}


@pytest.mark.parametrize('name', PALETTES)
def test_palette_files(name, tmp_path):
    (tmp_path / name).write_text(PALETTES[name])
    found = read_palette(tmp_path / name)
    assert [(c.name, c.color) for c in found] == [('road', (1, 2, 3)), ('lake', (4, 5, 6))]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{"a": [1, 2]}', 'is not understood'),
        ('{"a": "red"}', "'red' is no colour such as #6EC1E4"),
        ('{"a": [1, 2, 300]}', 'no colour of three numbers from 0 to 255'),
        ('{"a": [1, 2, 3], "A ": [1, 2, 4]}', 'has the name a twice'),
        ('{"a": [1, 2, 3], "b": [1, 2, 3]}', 'has the colour .* twice'),
        ('[', 'is not understood'),
    ],
)
def test_wrong_palettes(content, message, tmp_path):
    (tmp_path / 'p.json').write_text(content)
    with pytest.raises(ValueError, match=message):
        read_palette(tmp_path / 'p.json')
