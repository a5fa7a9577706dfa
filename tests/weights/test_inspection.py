"""Names and shapes tell what weights are."""

from published_layouts import SMALL, published

from mmlska import VAN_LSKA
from mmlska.weights import inspect_state_dict


def test_inspection_tells_what_the_file_is():
    info = inspect_state_dict(published('classification', 't', 35)[0])
    assert (info.layout, info.wrapper, info.num_classes) == ('classification', 'state_dict', 1000)
    info = inspect_state_dict(published('mmpretrain', 's', 23, 'lka')[0])
    assert (info.layout, info.num_classes, info.arch, info.attention) == ('mmpretrain', 1000, 's', 'lka')
    assert info.parameters == 13_348_800
    info = inspect_state_dict(published('detector', 't')[0])
    assert (info.layout, info.num_classes, info.parts) == ('mmlska', None, ('neck', 'bbox_head'))
    assert info.parameters == 3_772_000
    assert inspect_state_dict(published('detection')[0]).arch == SMALL


def test_the_first_stages_alone_name_all_that_they_can_be():
    own = VAN_LSKA('b', out_indices=(0,)).state_dict()
    assert inspect_state_dict(own).arch == 'b or l'
