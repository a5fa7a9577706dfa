"""The split of a folder: as it has one, or by a hash of the names."""

from pathlib import Path

import pytest

from mmlska.own_data.sources.instance_labels import InstanceLabels, LabelledImage
from mmlska.own_data.split import choose_val, split_images


def test_the_split_depends_on_names_alone_and_keeps_classes_on_both_sides():
    names = [f'{i}.jpg' for i in range(40)]
    classes = [{0} | ({1} if i in (3, 9) else set()) | ({2} if i == 5 else set()) for i in range(40)]
    chosen = {names[i] for i in choose_val(classes, names, 0.1)}
    assert len(chosen) == 4
    assert len(chosen & {'3.jpg', '9.jpg'}) == 1
    assert '5.jpg' not in chosen  # the only one of its class is for training
    order = list(range(39, -1, -1))
    again = {names[order[i]] for i in choose_val([classes[i] for i in order], [names[i] for i in order], 0.1)}
    assert again == chosen


@pytest.mark.parametrize(
    ('there', 'made', 'note'),
    [
        ({'train': 3, 'val': 2}, {'train': 3, 'val': 2}, 'as the folder splits them'),
        (
            {'train': 3, 'val': 2, '': 4},
            {'train': 3, 'val': 2},
            'as the folder splits them, 4 in no split are not used, such as 0.jpg',
        ),
        ({'train': 5, 'test': 1}, {'train': 4, 'val': 1, 'test': 1}, '0.2 of them held out by a hash of the names'),
        ({'': 5, 'val': 2}, {'train': 5, 'val': 2}, 'as the folder splits them'),
        ({'val': 5}, {'train': 4, 'val': 1}, '0.2 of them held out by a hash of the names'),
    ],
)
def test_parts_that_a_folder_has_are_kept_and_the_others_made(there, made, note):
    splits = {
        split: [LabelledImage({'file_name': f'{split}{i}.jpg'}) for i in range(count)] for split, count in there.items()
    }
    labels = InstanceLabels(Path('d'), ['cat'], [], splits, [], False, left_out={})
    parts, said = split_images(labels, 0.2)
    assert {split: len(images) for split, images in parts.items()} == made
    assert said == note
    names = [image.entry['file_name'] for images in parts.values() for image in images]
    assert len(set(names)) == len(names)
