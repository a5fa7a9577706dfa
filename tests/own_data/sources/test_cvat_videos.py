"""CVAT's videos: tracks in frames that lie there as photos."""

import pytest
from cvat_sets import LABELS, findings, only, read, write
from own_sets import photo


def track(number, *shapes, label='cat', more=''):
    return f'<track id="{number}" label="{label}" {more}>{"".join(shapes)}</track>'


def frame(number, left=10, outside=0, keyframe=0):
    place = f'frame="{number}" outside="{outside}" keyframe="{keyframe}" occluded="1"'
    return f'<box {place} xtl="{left}" ytl="20" xbr="{left + 10}" ybr="40"><attribute name="a">1</attribute></box>'


def video(
    root, *tracks, names=('frame_000000.png', 'frame_000001.png', 'frame_000002.png'), source='my video.mp4', more=''
):
    for name in names:
        photo(root / 'images' / name)
    size = '<original_size><width>80</width><height>60</height></original_size>'
    write(root / 'annotations.xml', ''.join(tracks), f'<task>{LABELS}{size}<source>{source}</source>{more}</task>')
    return root


def boxes(root):
    (images,) = read(root).splits.values()
    return {
        image.entry['file_name'].removeprefix('images/'): [a['bbox'][0] for a in image.annotations] for image in images
    }


@pytest.mark.parametrize('form', ['frame_{:06d}.png', 'frame_{}.JPG', '{:04d}.jpg', 'My Video_{:06d}.png', '{}.png'])
def test_video(form, tmp_path):
    names = [form.format(number) for number in range(4)]
    first = track(0, frame(0, 10, keyframe=1), frame(1, 12), frame(2, 14, outside=1, keyframe=1))
    root = video(tmp_path, first, track(1, frame(1, 50), frame(3, 50, outside=1), label='cow'), names=names)
    assert boxes(root) == {names[0]: [10], names[1]: [12, 50]}
    assert findings(root) == {
        'photo without a label file, not used': [f'images/{name}' for name in names[2:]],
        'class without annotations': ['红 狗'],
    }


def test_tracks_of_polygons_and_masks(tmp_path):
    polygon = '<polygon frame="0" outside="0" points="10,10;20,10;20,20"/>'
    mask = '<mask frame="0" outside="0" rle="0,4" left="5" top="6" width="2" height="2"/>'
    root = video(tmp_path, track(0, polygon), track(1, mask), names=['frame_000000.png'])
    (_, first), (_, second) = only(root)
    assert first['segmentation'] == [[10, 10, 20, 10, 20, 20]]
    assert second['bbox'] == [5, 6, 2, 2]


def test_frames_without_photo_are_left_out(tmp_path):
    root = video(tmp_path, track(0, frame(0), frame(1), frame(7), frame(8)), names=['frame_000001.png'])
    assert boxes(root) == {'frame_000001.png': [10]}
    places = findings(root)['frame without its photo; export the task with its images']
    assert places == [f'annotations.xml, frame {number}' for number in (0, 7, 8)]


@pytest.mark.parametrize(
    ('shapes', 'more', 'said'),
    [
        ([frame(0, keyframe=1), frame(2, keyframe=1)], '', True),
        ([frame(0, keyframe=1), frame(1, keyframe=1)], '', False),
        ([frame(0, keyframe=1, outside=1), frame(2, keyframe=1)], '', False),
        ([frame(0, keyframe=1), frame(2, keyframe=1)], '<frame_filter>step=2</frame_filter>', False),
        ([frame(0, keyframe=1), frame(2)], '', False),
    ],
)
def test_tracks_of_keyframes_only_are_noted(shapes, more, said, tmp_path):
    kind = 'track of keyframes only, read without the frames between them; export it with all frames'
    found = findings(video(tmp_path, track(5, *shapes), more=more))
    assert found.get(kind) == (['annotations.xml, track 5, frames 0 to 2'] if said else None)


@pytest.mark.parametrize(
    'shape', ['<box frame="x" outside="0"/>', '<box outside="0"/>', frame(0).replace('20', 'nan'), frame('1e400')]
)
def test_broken_frames(shape, tmp_path):
    root = video(tmp_path, track(0, shape, frame(1)), names=['frame_000001.png'])
    assert boxes(root) == {'frame_000001.png': [10]}
    assert len([kind for kind in findings(root) if kind.startswith(('annotation that', 'frame without'))]) == 1


def test_videos_keep_to_their_own_frames(tmp_path):
    video(tmp_path / 'one', track(0, frame(0, 10)), names=['frame_000000.png'])
    video(tmp_path / 'two', track(0, frame(0, 30), frame(1, 30)), names=['frame_000000.png'])
    video(tmp_path / 'three', track(0, frame(0, 50)), names=[])
    (images,) = read(tmp_path).splits.values()
    assert {i.entry['file_name']: i.annotations[0]['bbox'][0] for i in images} == {
        'one/images/frame_000000.png': 10,
        'two/images/frame_000000.png': 30,
    }
    places = findings(tmp_path)['frame without its photo; export the task with its images']
    assert places == ['three/annotations.xml, frame 0', 'two/annotations.xml, frame 1']


def test_tracks_of_several_tasks_in_one_file_are_refused(tmp_path):
    root = video(tmp_path, track(0, frame(0), more='task_id="1"'), track(1, frame(0), more='task_id="2"'))
    places = findings(root)['tracks of several videos in one file; export each task by itself']
    assert places == ['annotations.xml']


def test_frames_that_fit_two_photos_are_left_out(tmp_path):
    root = video(tmp_path, track(0, frame(0)), names=['frame_000000.png', 'frame_0.png'])
    (place,) = findings(root)['frame that fits two photos']
    assert place == 'annotations.xml, frame 0 (images/frame_0.png or images/frame_000000.png)'


def test_the_subset_of_a_track_gives_the_split(tmp_path):
    root = video(tmp_path, track(0, frame(0), more='subset="Test" task_id="1"'))
    assert list(read(root).splits) == ['test']
