"""Frames of clips drawn here: at the right times, upright, and a reason for what is no clip."""

import pytest
from PIL import Image

from retrieval.datatypes import Item
from retrieval.errors import ImageError
from retrieval.images import load

av = pytest.importorskip("av", reason="pip install 'mmr-retrieval[video]'")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """40 frames at 10 a second, each a little lighter than the one before."""
    path = tmp_path_factory.mktemp("clips") / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(40):
            frame = av.VideoFrame.from_image(Image.new("RGB", (96, 64), (number * 6,) * 3))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def brightness(frame):
    return frame.getpixel((40, 30))[0] / 6


def test_frames_are_from_the_middles_of_equal_parts(clip):
    for content in (clip, clip.read_bytes()):
        frames = load.frames(content, 4)
        assert [frame.size for frame in frames] == [(96, 64)] * 4
        assert [brightness(frame) for frame in frames] == pytest.approx([5, 15, 25, 35], abs=1.2)


def test_a_far_frame_is_jumped_to(clip):
    assert brightness(load.frames(clip, 1)[0]) == pytest.approx(20, abs=1.2)


def test_no_more_frames_than_there_are_and_none_twice(clip):
    frames = load.frames(clip, 100)
    assert 38 <= len(frames) <= 40
    assert len({frame.tobytes() for frame in frames}) == len(frames)


def test_the_fields_and_the_scale(clip):
    got = load.clip(clip, 2, at_least=30)
    assert got.fields == {"video": True, "seconds": 4.0, "width": 96, "height": 64}
    assert [frame.size for frame in got.frames] == [(48, 32)] * 2


def test_load_gives_the_middle_frame(clip):
    item = Item("a", "a.mp4", clip, kind="clip")
    assert brightness(load.load(item)) == pytest.approx(20, abs=1.2)
    assert load.load_with_fields(item).fields["seconds"] == 4.0


@pytest.mark.parametrize("content", [b"", b"hello", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n", b"\0" * 5000])
def test_what_is_no_clip_has_a_reason(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(ImageError, match="does not decode|not a clip"):
        load.frames(tmp_path / "a.mp4")


def test_a_clip_that_is_cut_off_shows_what_there_is(clip):
    content = clip.read_bytes()
    start = content.find(b"mdat")
    damaged = content[: start + 400] + bytes(1500) + content[start + 1900 :]
    assert 1 <= len(load.frames(damaged, 8)) <= 8


def test_without_the_library_its_name_is_said(clip, monkeypatch):
    monkeypatch.setattr(load, "find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r"pip install 'mmr-retrieval\[video\]'"):
        load.frames(clip)


def test_real_clips(shared):
    rotated = load.clip(shared / "videos" / "torchcodec" / "nasa_13013_rotated.mp4", 3)
    assert rotated.frames[0].size == (rotated.fields["width"], rotated.fields["height"]) == (270, 480)
