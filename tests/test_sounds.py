"""Sounds: what a file's windows are, what their spectrogram is by the formula, what a hostile file costs."""

import io
import json
import math
import time
import wave
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from retrieval.datatypes import Item
from retrieval.encoders.preprocess import Preprocess
from retrieval.errors import BadRequest, ImageError
from retrieval.images import kinds, load
from retrieval.sounds import files, mel, streams, waves
from retrieval.sounds.waves import RATE
from retrieval.sources.registry import open_items, open_pairs
from retrieval.sources.soundbook import NAMES, PLAYED, Tune, is_held_out, to_wav, tunes

soundfile = pytest.importorskip("soundfile", reason="the extra `sound` is not installed")


def tone(hertz, seconds=1.0, rate=RATE, loud=0.5):
    return (loud * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def as_file(samples, form="WAV", rate=RATE):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form)
    return file.getvalue()


def loudest_row(picture):
    """The band, counted from the lowest, in which most is heard."""
    return mel.BANDS - 1 - int(np.asarray(picture, float).mean(1).argmax())


def hear(pictures, *hertz):
    """Does each window have its tone?"""
    return [abs(loudest_row(one) - band_of(each)) <= 1 for one, each in zip(pictures, hertz, strict=True)]


def band_of(hertz):
    """By hand: bands are evenly spread in mel = 2595 log10(1 + f / 700) from 20 Hz to 8 kHz."""

    def to_mel(f):
        return 2595 * math.log10(1 + f / 700)

    step = (to_mel(8000) - to_mel(20)) / (mel.BANDS + 1)
    return round((to_mel(hertz) - to_mel(20)) / step) - 1


# ---------------------------------------------------------------- the spectrogram


def test_the_filters_are_the_triangles_of_the_formula():
    bands, fft = 5, 64
    low, high = (2595 * math.log10(1 + f / 700) for f in (20, 8000))
    mels = [low + i * (high - low) / 6 for i in range(7)]
    edges = [700 * (10 ** (m / 2595) - 1) for m in mels]
    expected = np.zeros((bands, fft // 2 + 1))
    for b in range(bands):
        low, middle, high = edges[b : b + 3]
        for k in range(fft // 2 + 1):
            f = k * RATE / fft
            if low < f <= middle:
                expected[b, k] = (f - low) / (middle - low)
            elif middle < f < high:
                expected[b, k] = (high - f) / (high - middle)
    np.testing.assert_allclose(mel.filters(bands, RATE, fft), expected, atol=1e-9)


def test_every_filter_holds_a_frequency():
    assert (mel.filters().max(1) > 0).all()


def test_the_power_is_that_of_a_fourier_transform_written_out():
    heard = tone(1000.0, 0.05) + tone(2500.0, 0.05)
    n = np.arange(mel.WINDOW)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / mel.WINDOW)
    at = 3  # the hop whose middle is 480 samples after the start
    part = np.concatenate([np.zeros(mel.WINDOW // 2), heard])[at * mel.HOP :][: mel.WINDOW] * window * 2 / window.sum()
    transform = np.exp(-2j * np.pi * np.outer(np.arange(mel.FFT // 2 + 1), n) / mel.FFT) @ part
    np.testing.assert_allclose(
        mel.power(heard, 0.05)[:, at], mel.filters() @ np.abs(transform) ** 2, rtol=1e-4, atol=1e-9
    )


@pytest.mark.parametrize("hertz", [110, 440, 1000, 3000, 7000])
def test_a_tone_lies_in_its_band(hertz):
    (picture,) = mel.pictures([tone(hertz)], 1.0)
    assert picture.size == (100, 128) and abs(loudest_row(picture) - band_of(hertz)) <= 1


def test_loudness_makes_no_difference_and_80_decibels_are_shown():
    quiet, loud = (np.asarray(mel.pictures([tone(500, loud=loud)], 1.0)[0]) for loud in (0.01, 0.9))
    np.testing.assert_allclose(quiet.astype(int), loud.astype(int), atol=1)
    assert loud.max() == 255 and loud.min() == 0


def test_silence_is_told():
    with pytest.raises(ImageError, match="silent: nothing is heard in 2 windows of 1 s"):
        mel.pictures([np.zeros(RATE, np.float32)] * 2, 1.0)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_another_rate_is_the_same_sound(rate):
    heard = waves.resampled(tone(1000, rate=rate), rate)
    assert len(heard) == RATE
    np.testing.assert_allclose(heard[800:-800], tone(1000)[800:-800], atol=2e-3)


def test_what_lies_above_hearing_is_cut_and_not_mirrored():
    assert np.abs(waves.resampled(tone(12_000, rate=44_100), 44_100)[800:-800]).max() < 1e-3


# ---------------------------------------------------------------- windows


def test_windows_are_the_middles_of_equal_parts():
    assert waves.starts(100.0, 4, 10.0) == [7.5, 32.5, 57.5, 82.5]
    assert waves.starts(3.0, 4, 5.0) == [0.0]
    assert waves.starts(12.0, 8, 5.0) == [0.0, 3.5, 7.0]
    assert waves.starts(10.0, 8, 5.0) == [0.0, 5.0]


def test_each_window_is_heard_where_it_lies():
    """Four seconds, each of another tone."""
    heard = np.concatenate([tone(hertz) for hertz in (200, 500, 1500, 4000)])
    found = load.windows(as_file(heard), 4, 1.0)
    assert all(hear(found.frames, 200, 500, 1500, 4000))
    assert found.fields == {"sound": True, "seconds": 4.0, "rate": RATE, "channels": 1}


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
def test_formats_and_channels(form):
    both = np.stack([tone(700, rate=44_100), tone(700, rate=44_100)], 1)
    found = load.windows(as_file(both, form, 44_100), 2, 1.0)
    assert abs(loudest_row(found.frames[0]) - band_of(700)) <= 1
    assert (found.fields["rate"], found.fields["channels"]) == (44_100, 2)


def aac(seconds=3.0, hertz=(600, 2400), pictures=False, sound=True):
    """An MP4 whose halves are two tones."""
    av = pytest.importorskip("av", reason="the extra `video` is not installed")
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        video = out.add_stream("mpeg4", rate=10) if pictures else None
        stream = out.add_stream("aac", rate=RATE) if sound else None
        if video:
            video.width = video.height = 32
            video.pix_fmt = "yuv420p"
            for number in range(int(seconds * 10)):
                frame = av.VideoFrame.from_image(Image.new("RGB", (32, 32), (0, 25 * (number % 10), 0)))
                frame.pts, frame.time_base = number, Fraction(1, 10)
                out.mux(video.encode(frame))
            out.mux(video.encode())
        if stream:
            heard = np.concatenate([tone(each, seconds / 2) for each in hertz])
            for start in range(0, len(heard), 1024):
                part = heard[None, start : start + 1024]
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
                out.mux(stream.encode(frame))
            out.mux(stream.encode())
    return file.getvalue()


def test_what_soundfile_does_not_read_is_read_by_pyav():
    found = load.windows(aac(), 2, 1.0)
    assert all(hear(found.frames, 600, 2400))


def test_the_sound_of_a_clip():
    found = load.windows_of(Item("a", "a.mp4", lambda: aac(pictures=True), kind="clip"), 1, 1.0)
    assert found.fields["sound"] and found.fields["video"]


def test_a_video_without_sound_is_told():
    with pytest.raises(ImageError, match="a clip without sound"):
        load.windows(aac(pictures=True, sound=False), 1, 1.0, is_clip=True)


# ---------------------------------------------------------------- bad files


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RIFF\x24\0\0\0WAVEjunk",
        b"fLaC" + bytes(60),
        b"ID3" + b"\xff" * 400,
        b"#EXTM3U\nhttp://127.0.0.1:1/x.ts\n",
    ],
)
def test_what_is_no_sound_costs_one_error(content):
    with pytest.raises(ImageError, match="does not decode|not a sound"):
        load.windows(content, 4, 1.0)


def test_a_file_cut_off_is_heard_as_far_as_it_goes_or_refused():
    whole = as_file(tone(500, 4.0))
    found = load.windows(whole[: len(whole) // 2], 2, 1.0)
    assert abs(loudest_row(found.frames[0]) - band_of(500)) <= 1


def test_ten_hours_of_silence_are_told_in_a_moment(tmp_path):
    """Its pages are holes: 1.1 GB by its size, nothing on the disk."""
    path, frames = tmp_path / "night.wav", 10 * 3600 * RATE
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.setnframes(frames)
    head = bytearray(path.read_bytes()[:44])
    head[40:44] = (2 * frames).to_bytes(4, "little")
    head[4:8] = (36 + 2 * frames).to_bytes(4, "little")
    path.write_bytes(head)
    with path.open("r+b") as file:
        file.truncate(44 + 2 * frames)
    load.windows(as_file(tone(500)), 1, 1.0)  # the process is there
    started = time.perf_counter()
    with pytest.raises(ImageError, match="in 8 windows of 5 s, and of so long a sound no more is heard: cut it into"):
        load.windows(path, 8, 5.0)
    assert time.perf_counter() - started < 5


def test_a_short_sound_in_a_long_silence_is_heard():
    """One second in sixty, which lies in no middle of an eighth; by either library."""
    heard = np.zeros(60 * RATE, np.float32)
    heard[5 * RATE : 6 * RATE] = tone(500)
    for form in ("WAV", "FLAC"):
        found = load.windows(as_file(heard, form), 8, 2.0).frames
        assert sum(np.asarray(one).any() for one in found) == 1 and hear(found[:1], 500) == [True]
    pytest.importorskip("av", reason="the extra `video` is not installed")
    (first, *_) = streams.heard(as_file(heard), 8, 2.0).waves
    assert hear(mel.pictures([first], 2.0), 500) == [True] and (np.abs(first) > 1e-3).mean() > 0.44


def test_a_window_lies_where_its_part_is_loud_and_else_in_the_middle():
    """By hand: 40 s in two parts of 20, windows of 2 s: 9 to 11, and the second part is loud from 23 to 25 alone."""
    loud = np.full(400, 0.001)
    assert waves.starts(40.0, 2, 2.0, loud) == pytest.approx([9.0, 29.0])
    loud[230:250] = 1.0
    assert waves.starts(40.0, 2, 2.0, loud) == pytest.approx([9.0, 23.2])  # nine tenths of it, nearest to the middle


@pytest.mark.parametrize("form", ["WAV", "FLAC"])
def test_channels_in_opposite_phase_are_heard(form):
    both = np.stack([tone(500), -tone(500)], axis=1)
    assert hear(load.windows(as_file(both, form), 1, 1.0).frames, 500) == [True]
    pytest.importorskip("av", reason="the extra `video` is not installed")
    assert hear(mel.pictures(streams.heard(as_file(both, form), 1, 1.0).waves, 1.0), 500) == [True]


def test_the_mean_of_channels_is_what_is_heard_where_they_do_not_cancel():
    left, right = tone(500), tone(900)
    np.testing.assert_allclose(waves.mono(np.stack([left, right], axis=1)), (left + right) / 2, atol=1e-7)
    np.testing.assert_array_equal(waves.mono(np.stack([left, -0.99 * left], axis=1)), left)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_flac_that_was_cut_off_is_heard_as_far_as_it_goes(share):
    """Noise beside the tone, so that its bytes are spread over its time."""
    noisy = tone(500, 8.0) + 0.05 * np.random.default_rng(0).standard_normal(8 * RATE).astype(np.float32)
    whole = as_file(noisy, "FLAC")
    cut = whole[: int(len(whole) * share)]
    for count, seconds in ((4, 1.0), (1, 10.0)):
        found = load.windows(cut, count, seconds)
        assert all(hear(found.frames, *[500] * len(found.frames)))
    assert load.windows(cut, 4, 1.0).fields["seconds"] == pytest.approx(8 * share, abs=0.5)


def test_numbers_that_are_none_are_silence():
    heard = tone(500)
    heard[100:200] = np.nan
    heard[300] = np.inf
    file = as_file(heard, "WAV", RATE)
    bad = io.BytesIO()
    soundfile.write(bad, heard, RATE, format="WAV", subtype="FLOAT")
    for content in (file, bad.getvalue()):
        assert np.isfinite(np.asarray(load.windows(content, 1, 1.0).frames[0], float)).all()


def test_a_rate_that_no_recording_has():
    content = bytearray(as_file(tone(500)))
    content[24:28] = (7).to_bytes(4, "little")
    with pytest.raises(ImageError, match="7 samples a second"):
        files.heard(bytes(content), 1, 1.0)


def test_more_than_a_process_may_hold_is_not_asked_for():
    with pytest.raises(ValueError, match="at most 64"):
        waves.check_asked(65, 1.0)


def test_a_picture_is_no_sound_and_a_sound_no_picture(tmp_path):
    with pytest.raises(ImageError, match="this encoder hears"):
        load.windows_of(Item("a", "a.png", tmp_path / "a.png"), 1, 1.0)
    with pytest.raises(ImageError, match="this encoder sees"):
        load.load(Item("a", "a.wav", tmp_path / "a.wav", kind="sound"))


# ---------------------------------------------------------------- what is shown, sources, squares


def test_a_spectrogram_is_shown_in_color():
    shown = load.shown(as_file(tone(3000)), "sound")
    assert shown.mode == "RGB" and shown.size == (512, 512)
    rows = np.asarray(shown, float).sum((1, 2))
    assert abs(rows.argmax() - 512 * (1 - (band_of(3000) + 0.5) / mel.BANDS)) < 8


def test_endings():
    assert kinds.kind(load.Path("a.FLAC")) == "sound" and kinds.kind(load.Path("a.mp4")) == "clip"
    assert ".wav" in kinds.endings(["sound"]) and ".wav" not in kinds.endings(kinds.SEEN)
    assert kinds.endings(None) == kinds.ALL


@pytest.mark.parametrize("taken, said", [
    (kinds.SEEN, "pictures"), ({"clip"}, "pictures"), ((), "pictures"),
    ({"clip", "sound"}, "sounds"), ({"sound"}, "sounds"), ({"clip", "picture", "sound"}, "items"),
])  # fmt: skip
def test_what_is_counted_has_the_name_of_what_is_taken(taken, said):
    assert kinds.counted(taken) == said


def test_a_folder_and_a_table_have_sounds(tmp_path):
    (tmp_path / "a.wav").write_bytes(as_file(tone(500)))
    (tmp_path / "a.txt").write_text("a tone", "utf-8")
    (tmp_path / "t.csv").write_text("image,caption\na.wav,a beep\n", "utf-8")
    (item,) = open_items(str(tmp_path))
    assert (item.kind, item.captions, item.meta["sound"]) == ("sound", ("a tone",), True)
    (pair,) = open_pairs(str(tmp_path / "t.csv"))
    assert (pair.item.kind, pair.caption) == ("sound", "a beep")


def test_a_preprocess_says_what_it_takes():
    sees = Preprocess(32)
    hears = Preprocess(32, mean=(0.5,), std=(0.2,), seconds=2.0)
    both = Preprocess(32, seconds=2.0, ears=16)
    assert [sorted(one.kinds) for one in (sees, hears, both)] == [
        ["clip", "picture"], ["clip", "sound"], ["clip", "picture", "sound"]
    ]  # fmt: skip
    assert [one.hears("clip") for one in (sees, hears, both)] == [False, True, False]
    assert "seconds" not in sees.to_json() and Preprocess.from_json(json.loads(json.dumps(both.to_json()))) == both
    (window,) = mel.pictures([tone(500)], 1.0)
    assert hears.heard(window).shape == (32, 32, 1) and both.heard(window).shape == (16, 16, 1)
    with pytest.raises(ImageError, match="hears sounds"):
        hears(Image.new("RGB", (8, 8)))
    with pytest.raises(ValueError, match="windows"):
        Preprocess(32, seconds=2.0)


def test_the_soundbook_is_the_same_everywhere_and_keeps_its_word():
    first, again = (Tune.make(3, "test") for _ in range(2))
    assert first == again and first.file() == again.file()
    assert len(first.wave()) == 5 * RATE and np.abs(first.wave()).max() <= 1
    assert not any(is_held_out(e.name, e.played) for t in tunes(200) for e in t.events)
    assert all(any(is_held_out(e.name, e.played) for e in t.events) for t in tunes(200, "test"))
    assert all(sum(is_held_out(name, played) for played in PLAYED) == 1 for name in NAMES)
    assert len(to_wav(np.zeros(10, np.float32))) == 44 + 20


@pytest.mark.parametrize("name", ["x", "5?split=dev", "5?captions=some", "5?colour=red"])
def test_a_soundbook_that_is_none(name):
    with pytest.raises(BadRequest, match="write `soundbook:COUNT"):
        list(open_items(f"soundbook:{name}"))
