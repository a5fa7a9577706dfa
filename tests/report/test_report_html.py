"""Tables of the report of a training."""

import numpy as np
from page_checks import rows_of

from mmlska.report.html import figure, matrix
from mmlska.report.pictures import MOST_BOXES, Picture


def test_a_matrix_of_many_classes_shows_those_with_most_labels_and_what_is_none():
    confusion = np.diag(np.arange(31))
    confusion[5, 30] = 3
    text = matrix(confusion, [f'class {number}' for number in range(30)] + ['nothing'], percent=False, always=1)
    rows = rows_of(text)
    assert [row[0] for row in rows[1:]] == [f'{place} class {10 + place}' for place in range(1, 20)] + ['20 nothing']
    assert rows[0] == ['labelled \\ predicted', *map(str, range(1, 21))]
    assert rows[1][1] == '11'
    assert '19 classes that are labelled most, of 30.' in text
    assert 'class 5 labelled, nothing predicted: 3 (37.5 % of the row)' in text


def test_a_picture_of_many_boxes_says_how_many_are_not_drawn():
    boxes = [[1.0, 2.0, 3.0, 4.0]] * (MOST_BOXES + 7)
    text = figure(Picture('a.png', '', (9, 9), boxes, [0] * len(boxes)), ['<b>'], [(0, 0, 0)])
    assert text.count('<rect') == MOST_BOXES
    assert 'a.png · 7 more boxes are not drawn' in text
    assert '<text' not in text
    assert '<b>' not in text
