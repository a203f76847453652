"""Encoders that hear: towers, the one loop, an index of sounds, ears beside eyes, heads that have sound."""

import csv
import dataclasses
import io
import json
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from eval import evaluate
from eval.bench import sound as bench
from indexes import Store
from retrieval import Retriever, load_encoder, towers
from retrieval.datatypes import Item, Pair
from retrieval.encoders import encoding, query_encoder
from retrieval.encoders.build import new_encoder, small_encoder
from retrieval.encoders.config import EncoderConfig
from retrieval.errors import BadRequest, ImageError, NothingThere
from retrieval.heads import inputs as features
from retrieval.heads.config import HeadConfig
from retrieval.heads.head import load_head
from retrieval.heads.prepare import prepare, remarks, train_head
from retrieval.images import load
from retrieval.indexing import changes
from retrieval.indexing.build import build, unchanged
from retrieval.indexing.catalog import Identity
from retrieval.indexing.roots import recorded
from retrieval.search import query
from retrieval.sounds import mel
from retrieval.sources.registry import open_items, open_pairs, parse_uri
from retrieval.sources.soundbook import Tune, to_wav, tunes
from retrieval.training import choice
from retrieval.training.hearing import with_ears
from retrieval.training.loop import train
from retrieval.training.recipes import sound
from terminal import mmr

pytest.importorskip("soundfile", reason="the extra `sound` is not installed")
RATE = 16_000
HERTZ = {"low": 200, "middle": 1000, "high": 4000}


def tone(hertz, seconds=1.0):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def item(word, number=0):
    content = to_wav(tone(HERTZ[word] * (1 + number / 100)))
    return Item(f"{word}{number}", f"{word}{number}.wav", lambda: content, kind="sound", stamp=f"{word}{number}")


def config(**others):
    small = {"seconds": 1.0, "image_size": 32, "image_width": 16, "text_width": 64, "text_layers": 0, "dim": 32,
             "batch_size": 8, "epochs": 40.0, "evaluations": 0, "checkpoints": 0, "vocabulary": 300,
             "word_dropout": 0.0, "precision": "fp32", "lr": 3e-3}  # fmt: skip
    return dataclasses.replace(sound(24), **(small | others))


PAIRS = [Pair(item(word, number), f"a {word} tone") for number in range(8) for word in HERTZ]


@pytest.fixture(scope="module", params=["mel", "ast"])
def heard(request, tmp_path_factory):
    """A run that has learned three tones, by either tower."""
    out = tmp_path_factory.mktemp("heard") / "run"
    train(PAIRS, out=out, config=config(image_tower=request.param))
    return out


@pytest.fixture
def folder(tmp_path):
    """Sounds with texts beside them, and a picture."""
    place = tmp_path / "things"
    place.mkdir()
    for word in HERTZ:
        (place / f"{word}.wav").write_bytes(to_wav(tone(HERTZ[word])))
        (place / f"{word}.txt").write_text(f"a {word} tone", "utf-8")
    Image.new("RGB", (32, 32), "red").save(place / "red.png")
    return place


# ---------------------------------------------------------------- towers


@pytest.mark.parametrize("kind", ["mel", "ast"])
def test_a_window_does_not_depend_on_those_beside_it(kind):
    tower = towers.build(towers.IMAGE_TOWERS, 8, {"type": kind, **({"size": 64} if kind == "mel" else {})}).eval()
    pixels = torch.randn(3, 1, 64, 64)
    with torch.inference_mode():
        together, alone = tower(pixels), torch.cat([tower(one[None]) for one in pixels])
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(tower.head(tower.features(pixels)), together)
        assert tower.features(pixels).shape == (3, tower.width)


@pytest.mark.parametrize("kind", ["mel", "ast"])
def test_pitch_is_a_place_and_time_is_not(kind):
    """The same tone a row of the CNN's map higher is another sound. For the CNN one that comes later is the same."""
    torch.manual_seed(0)
    tower = towers.build(towers.IMAGE_TOWERS, 64, {"type": kind, **({"size": 64} if kind == "mel" else {})}).eval()
    shown = torch.zeros(3, 1, 64, 64)
    shown[0, :, 16:20, 16:32] = shown[1, :, 32:36, 16:32] = shown[2, :, 16:20, 32:48] = 3.0
    with torch.inference_mode():
        first, higher, later = F.normalize(tower(shown), dim=1)
    assert first @ higher < 0.99
    if kind == "mel":
        assert first @ later > first @ higher


def test_the_tower_is_what_says_that_an_encoder_hears():
    encoder = small_encoder(["a"], image={"type": "mel", "seconds": 2.0, "size": 64}, image_size=64)
    assert (encoder.preprocess.seconds, encoder.preprocess.channels) == (2.0, 1)
    assert encoder.preprocess.kinds == {"clip", "sound"}
    assert new_encoder(EncoderConfig(image_tower="ast"), ["a"]).preprocess.size == 128


@pytest.mark.parametrize("settings, said", [
    ({"seconds": 2.0}, "seconds belongs to image_tower=mel and ast"),
    ({"image_tower": "mel", "views": 2}, "views must be 1"),
    ({"image_tower": "ast", "image_channels": 4}, "image_channels is not asked"),
])  # fmt: skip
def test_settings_that_do_not_fit(settings, said):
    with pytest.raises(BadRequest, match=said):
        EncoderConfig(**settings)


# ---------------------------------------------------------------- the one loop, and a search both ways


def test_tones_are_found_by_their_words_and_words_by_tones(heard):
    encoder = load_encoder(str(heard))
    held_out = [Pair(item(word, 8), f"a {word} tone") for word in HERTZ]
    report = evaluate(encoder, held_out)
    assert report.text_to_image["hit@1"] == report.image_to_text["hit@1"] == 1.0


def test_sounds_and_a_crop_of_them_are_not_mirrored():
    assert config().crop == 1.0 and config().flip == "no"
    chosen = choice.choose(PAIRS)
    assert (chosen.recipe, choice.choose([], ["image_tower=ast"]).recipe) == ("sound", "sound")


def test_an_index_of_a_folder_takes_its_sounds_alone(heard, folder, tmp_path):
    index = tmp_path / "index"
    encoder = load_encoder(str(heard))
    store, report = build(str(folder), index, encoder)
    store.close()
    assert (report.added, report.skipped) == (3, [])
    with Retriever.open(index) as retriever:
        assert [retriever.search(f"a {word} tone", 1)[0].uri for word in HERTZ] == [f"{word}.wav" for word in HERTZ]
        found = retriever.search(str(folder / "low.wav"), 3)
        assert found[0].kind == "sound" and "low.wav" not in [hit.uri for hit in found if hit.rank > 1]
        with pytest.raises(
            BadRequest, match="red.png: a picture, and this index is of sounds: ask with words or a sound"
        ):
            retriever.search(str(folder / "red.png"), 1)
    with Store.open(index) as store:
        assert changes.count(store, recorded(store)).new == 0
    assert unchanged(parse_uri(str(folder)), index) is not None
    assert build(str(folder), index, encoder)[1].unchanged == 3


def test_an_encoder_that_sees_leaves_sounds_alone(folder, tmp_path):
    encoder = small_encoder(["a"], dim=16, image_size=32, image={"width": 16})
    store, report = build(str(folder), tmp_path / "index", encoder)
    assert (report.added, report.skipped) == (1, []) and not store.manifest.get("kinds")
    assert changes.count(store, recorded(store)).new == 0
    store.close()
    (folder / "red.png").unlink()
    with pytest.raises(NothingThere, match="no pictures but sounds: give an encoder that hears"):
        build(str(folder), tmp_path / "other", encoder)


def test_a_sound_asked_of_pictures_is_told(folder, tmp_path):
    encoder = small_encoder(["a"], dim=16, image_size=32, image={"width": 16})
    said = (
        "low.wav: a sound, and the encoder of this index sees pictures only: ask with words or a picture, or give it ea"
    )
    with pytest.raises(BadRequest, match=said):
        encoding.taken_in(folder / "low.wav", encoder.preprocess)


def test_the_exported_tower_hears_the_same(heard, monkeypatch, tmp_path):
    monkeypatch.setenv("MMR_CACHE", str(tmp_path))
    encoder = load_encoder(str(heard))
    asked = query_encoder.QueryEncoder(query_encoder.ensure_exported(encoder), lambda: encoder)
    shown = [encoding.prepare(item(word), encoder.preprocess).pixels[0] for word in HERTZ]
    assert asked.opens_pictures()
    np.testing.assert_allclose(asked.encode_images(shown), encoder.encode_images(shown), atol=2e-4)


# ---------------------------------------------------------------- ears


@pytest.fixture
def both(heard):
    torch.manual_seed(0)
    eyes = small_encoder([pair.caption for pair in PAIRS], dim=24, image_size=48, image={"width": 16})
    eyes.eval()
    return eyes, eyes.fingerprint, with_ears(eyes, load_encoder(str(heard)), PAIRS)


def test_ears_change_neither_pictures_nor_words(heard):
    torch.manual_seed(0)
    eyes = small_encoder([pair.caption for pair in PAIRS], dim=24, image_size=48, image={"width": 16}).eval()
    picture = Image.new("RGB", (50, 50), "blue")
    before = eyes.encode_images([picture]), eyes.encode_texts(["a low tone"]), eyes.fingerprint
    made = with_ears(eyes, load_encoder(str(heard)), PAIRS)
    np.testing.assert_array_equal(made.encode_images([picture]), before[0])
    np.testing.assert_array_equal(made.encode_texts(["a low tone"]), before[1])
    assert made.extends == before[2] != made.fingerprint


def test_sounds_are_found_in_the_space_of_pictures(both, tmp_path):
    _, _, made = both
    made.save(tmp_path / "both")
    again = load_encoder(str(tmp_path / "both"))
    assert (again.fingerprint, again.extends, again.preprocess) == (made.fingerprint, made.extends, made.preprocess)
    shown = [encoding.prepare(item(word, 8), again.preprocess).pixels[0] for word in HERTZ]
    mixed = [shown[0], again.preprocess(Image.new("RGB", (9, 9))), *shown[1:]]
    rows = again.encode_images(mixed)
    np.testing.assert_allclose(rows[[0, 2, 3]], made.encode_images(shown), atol=1e-6)
    texts = again.encode_texts([f"a {word} tone" for word in HERTZ])
    assert (texts @ rows[[0, 2, 3]].T).argmax(1).tolist() == [0, 1, 2]


def test_an_index_of_pictures_takes_sounds_and_keeps_its_vectors(heard, folder, tmp_path):
    torch.manual_seed(0)
    eyes = small_encoder([pair.caption for pair in PAIRS], dim=24, image_size=48, image={"width": 16}).eval()
    eyes.save(tmp_path / "eyes")
    index = tmp_path / "index"
    store, _ = build(str(folder), index, load_encoder(str(tmp_path / "eyes")))
    before = store.vectors(store.rows())
    store.close()
    with_ears(load_encoder(str(tmp_path / "eyes")), load_encoder(str(heard)), PAIRS).save(tmp_path / "both")
    both = load_encoder(str(tmp_path / "both"))
    store, report = build(str(folder), index, both)
    assert (report.added, report.unchanged) == (3, 1)
    np.testing.assert_array_equal(store.vectors(store.rows())[:1], before)
    assert Identity.recorded(store).fingerprint == both.fingerprint
    store.close()
    with Retriever.open(index) as retriever:
        assert retriever.search("a low tone", 1)[0].uri == "low.wav"
        assert retriever.search(str(folder / "red.png"), 4)
        assert retriever.search(str(folder / "high.wav"), 4)


def test_a_clip_without_pictures_is_heard(both, tmp_path):
    """In an index of pictures and sounds, as a query, by what is shown of it; an encoder without ears leaves it out."""
    eyes, _, made = both
    (tmp_path / "talk.mp4").write_bytes(clip("", 0, "high"))
    (tmp_path / "low.wav").write_bytes(to_wav(tone(HERTZ["low"])))
    index = tmp_path / "index"
    store, report = build(str(tmp_path), index, made)
    store.close()
    assert (report.added, report.skipped) == (2, []) and build(str(tmp_path), index, made)[1].unchanged == 2
    with Retriever.open(index, encoder=made) as retriever:
        assert retriever.search("a high tone", 1)[0].uri == "talk.mp4"
        assert retriever.search(str(tmp_path / "talk.mp4"), 2)
    assert load.shown(tmp_path / "talk.mp4", "clip").size == (512, 512)
    sees = small_encoder(["a"], dim=16, image_size=32, image={"width": 16})
    item = Item("a", "talk.mp4", tmp_path / "talk.mp4", kind="clip")
    assert str(encoding.prepare(item, sees.preprocess)) == "a clip without pictures"
    with pytest.raises(ImageError, match="a clip without pictures"):
        encoding.taken_in(tmp_path / "talk.mp4", sees.preprocess)


class Said:
    """An encoder of texts alone: each that it has not seen has a direction of its own, or all have one."""

    def __init__(self, apart):
        self._apart, self._known = apart, {}

    def encode_texts(self, texts):
        places = [self._known.setdefault(text, len(self._known)) * self._apart for text in texts]
        return np.eye(500, dtype=np.float32)[places]


def test_the_benchmark_says_what_the_words_allow(monkeypatch):
    """All of it where captions are apart, nothing where they are one."""
    monkeypatch.setattr(bench, "HELD_OUT", 40)
    assert bench.allowed(Said(True), 0) == 100.0
    assert bench.allowed(Said(False), 0) == 0.0


def test_the_benchmark_of_ears_has_chance_beside_it(heard, sees, monkeypatch):
    """Three tones that both know: all are found at the first place, by the run itself and in the space of pictures."""
    held_out = [Pair(item(word, 8), f"a {word} tone") for word in HERTZ]
    monkeypatch.setattr(bench, "HELD_OUT", 20)
    monkeypatch.setattr(bench, "MAPPED", 12)
    monkeypatch.setattr(bench, "EYES", str(sees))
    monkeypatch.setattr(bench, "open_pairs", lambda asked: held_out if "split=test" in asked else PAIRS)
    found = bench.bridged(load_encoder(str(heard)))
    assert (found["sounds"], found["mapped"], found["chance@10"]) == (20, 12, 50.0)
    assert (found["recall@1_t2s"], found["recall@1_s2t"], found["own_recall@10"]) == (100.0, 100.0, 100.0)
    assert found["words_recall@10"] == 100.0


@pytest.mark.slow
def test_nine_of_ten_held_out_tunes_are_found_by_their_captions(tmp_path):
    """The figure of the docs, of one seed: a minute of one core and more."""
    encoder, held_out, _ = bench.learned("tones", "mel", 0, tmp_path)
    found = bench.recalls(encoder, held_out)
    assert len(held_out) == 200 and min(found["recall@10_t2s"], found["recall@10_s2t"]) >= 90.0, found


def test_a_damaged_sound_is_told_as_a_sound_by_what_sees_as_well(both, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    with pytest.raises(BadRequest, match="bad.wav: .*: give another sound, or text:"):
        query.encode([query.parse(str(tmp_path / "bad.wav"))], both[2], no_item)


def no_item(uri):
    raise AssertionError(uri)


def test_ears_that_cannot_be(both, heard):
    made = both[2]
    with pytest.raises(BadRequest, match="hears already"):
        with_ears(made, load_encoder(str(heard)), PAIRS)
    eyes = small_encoder(["a"], dim=24, image_size=48, image={"width": 16})
    with pytest.raises(BadRequest, match="hears nothing"):
        with_ears(eyes, eyes, PAIRS)


# ---------------------------------------------------------------- learned from pictures


COLORS = {"low": "red", "middle": "green", "high": "blue"}


def clip(word, number, heard=None):
    """Two seconds of a color with its tone, as an MP4; without pictures where the word is "".

    heard: the tone of another; "" for no sound at all.
    """
    heard = word if heard is None else heard
    av = pytest.importorskip("av", reason="the extra `video` is not installed")
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        video = out.add_stream("mpeg4", rate=4) if word else None
        stream = out.add_stream("aac", rate=RATE) if heard else None
        if video:
            video.width = video.height = 48
            video.pix_fmt = "yuv420p"
            for at in range(8):
                frame = av.VideoFrame.from_image(Image.new("RGB", (48, 48), COLORS[word]))
                frame.pts = at
                out.mux(video.encode(frame))
            out.mux(video.encode())
        if stream:
            samples = tone(HERTZ[heard] * (1 + number / 100), 2.0)
            for start in range(0, len(samples), 1024):
                part = samples[None, start : start + 1024].copy()
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
                out.mux(stream.encode(frame))
            out.mux(stream.encode())
    return file.getvalue()


@pytest.fixture(scope="module")
def clips():
    """Clips without a caption: each color has a tone of its own."""
    made = {(word, number): clip(word, number) for number in range(6) for word in COLORS}
    return [
        Pair(Item(f"{word}{n}", f"{word}{n}.mp4", lambda key=(word, n): made[key], kind="clip"), "") for word, n in made
    ]


@pytest.fixture(scope="module")
def sees(tmp_path_factory):
    """A run that knows the names of three colors, by pictures."""
    pairs = [
        Pair(Item(f"{word}{n}", word, lambda c=color, n=n: Image.new("RGB", (40 + n, 40), c)), f"a {word} tone")
        for n in range(6) for word, color in COLORS.items()
    ]  # fmt: skip
    out = tmp_path_factory.mktemp("sees") / "run"
    settings = config(image_tower="conv", seconds=0.0, duplicates="masked", epochs=30.0)
    train(pairs, out=out, config=settings)
    return out


def find_tones(encoder):
    rows = encoder.encode_images([encoding.prepare(item(word, 7), encoder.preprocess).pixels[0] for word in HERTZ])
    return (encoder.encode_texts([f"a {word} tone" for word in HERTZ]) @ rows.T).argmax(1).tolist()


def test_sounds_are_found_by_words_that_only_pictures_had(clips, sees, tmp_path):
    """The loop sees clips and no caption: words were learned with pictures, and sounds stand where these do."""
    settings = config(seen_by=str(sees), duplicates="masked", seconds=1.0)
    train(clips, out=tmp_path / "run", config=settings)
    encoder = load_encoder(str(tmp_path / "run"))
    assert encoder.preprocess.kinds == {"clip", "sound"} and find_tones(encoder) == [0, 1, 2]
    words = ["a low tone", "a high tone"]
    np.testing.assert_allclose(encoder.encode_texts(words), load_encoder(str(sees)).encode_texts(words), atol=1e-6)


def test_ears_are_fitted_by_pictures_of_clips_too(clips, sees, heard):
    assert find_tones(with_ears(load_encoder(str(sees)), load_encoder(str(heard)), clips)) == [0, 1, 2]


def test_seen_by_what_sees_nothing(heard, tmp_path):
    with pytest.raises(BadRequest, match="sees no pictures"):
        train(PAIRS, out=tmp_path / "run", config=config(seen_by=str(heard)))
    with pytest.raises(BadRequest, match="image_tower must be mel or ast"):
        train(PAIRS, out=tmp_path / "run", config=config(image_tower="conv", seconds=0.0, seen_by=str(heard)))


# ---------------------------------------------------------------- heads


def test_a_head_has_sound_as_a_modality_and_masks_it(both, folder):
    made = both[2]
    assert features.known_to(made)[:3] == ("image", "sound", "text")
    items = list(open_items(str(folder)))
    found = features.encode(items, made, ["image", "sound", "text"])
    kinds = [one.kind for one in items]
    assert found.present["sound"].tolist() == [kind == "sound" for kind in kinds]
    assert found.present["image"].tolist() == [kind == "picture" for kind in kinds]
    assert not found.vectors["sound"][kinds.index("picture")].any() and found.skipped == []
    np.testing.assert_allclose(np.linalg.norm(found.vectors["sound"], axis=1)[found.present["sound"]], 1, atol=1e-5)


@pytest.fixture
def halves(tmp_path):
    """Clips whose color and tone are drawn apart, labelled by both: each alone knows half. Every fifth has no sound."""
    rows = {"train": [], "test": []}
    for number in range(4):
        for color in ("low", "high"):
            for said in ("low", "high"):
                for split, at in (("train", number), ("train", number + 5), ("test", number + 10)):
                    silent = number == 3
                    name = f"{color}_{said}_{at}.mp4"
                    (tmp_path / name).write_bytes(clip(color, at, "" if silent else said))
                    rows[split].append((name, f"{COLORS[color]}, {said}"))
    for split, lines in rows.items():
        with (tmp_path / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("image", "label"), *lines])
    return tmp_path


def right(head, rows, some):
    """The share of right answers among some rows."""
    said = [answer[0] for answer in head.labels(rows.inputs)]
    return float(np.mean([said[row] == rows.examples.labels[row] for row in np.flatnonzero(some)]))


@pytest.mark.parametrize("fusion", ["concat", "attention"])
def test_a_head_of_pictures_and_sounds_knows_what_neither_does(both, halves, fusion, tmp_path):
    """From files to answers. Half is what one modality can know; the colors of clips without sound are known too."""
    made = both[2]
    learn, test = (
        prepare(f"csv:{halves / split}.csv", "label", "single", made, learn=split == "train", inputs="image,sound")
        for split in ("train", "test")
    )
    assert "8 of 32 rows have no sound: masked" in remarks(learn) and learn.inputs.skipped == []
    heard = test.inputs.present["sound"]
    assert (~heard).sum() == 4 and test.inputs.present["image"].all()
    config = HeadConfig(fusion=fusion, width=32, dropout=0.0, epochs=60, weight_decay=0.0, validation=0.0)
    head, _ = train_head(learn, made, config)
    alone = {name: train_head(learn, made, dataclasses.replace(config, fusion=name))[0] for name in ("image", "sound")}
    assert right(head, test, heard) >= 0.9
    assert all(right(one, test, heard) <= 0.6 for one in alone.values())

    garbage = test.inputs.vectors["sound"].copy()
    garbage[~heard] = np.random.default_rng(0).normal(0, 100, garbage[~heard].shape)
    other = dataclasses.replace(test.inputs, vectors=test.inputs.vectors | {"sound": garbage})
    np.testing.assert_array_equal(head.scores(other), head.scores(test.inputs))
    silent = [(head.labels(test.inputs)[row][0], test.examples.labels[row]) for row in np.flatnonzero(~heard)]
    assert all(said.split(",")[0] == label.split(",")[0] for said, label in silent)
    head.save(tmp_path / "head")
    np.testing.assert_allclose(load_head(tmp_path / "head").scores(other), head.scores(other), atol=1e-6)


def test_an_encoder_that_only_hears_offers_no_pictures(heard):
    assert "image" not in features.known_to(load_encoder(str(heard)))


# ---------------------------------------------------------------- what people get


def test_the_command_line_trains_indexes_and_finds(tmp_path):
    for number, tune in enumerate(tunes(24)):
        (tmp_path / f"{number}.wav").write_bytes(tune.file())
        (tmp_path / f"{number}.txt").write_text("\n".join(tune.captions()), "utf-8")
    run = tmp_path / "runs" / "sounds"
    small = [f"--set={one}" for one in ("image_size=32", "image_width=16", "epochs=2", "text_width=64", "dim=32")]
    done = mmr("train", str(tmp_path), "--out", str(run), *small)
    assert done.exit_code == 0 and "recipe sound: all of it is sounds" in done.stderr
    assert "24 sounds, " in done.stderr
    done = mmr("index", str(tmp_path), "--model", str(run))
    assert (
        done.exit_code == 0 and ": 24 sounds (24 new, " in done.stdout and "pictures" not in done.stdout + done.stderr
    )
    assert ": 24 sounds (0 new, " in mmr("index", str(tmp_path)).stdout
    done = mmr("search", "a high note on a bell", "--index", str(tmp_path / ".mmr"), "-k", "2", "--json")
    assert [json.loads(line)["kind"] for line in done.stdout.splitlines()] == ["sound", "sound"]
    assert mmr("info", "--index", str(tmp_path / ".mmr")).exit_code == 0
    (tmp_path / "new.wav").write_bytes(Tune.make(24, "train").file())
    done = mmr("search", "a bell", "--index", str(tmp_path / ".mmr"), "-k", "1")
    assert "sounds since the last indexing: " in done.stderr


@pytest.mark.parametrize("asked, said", [
    (["--recipe", "from_scratch"], "all 3 are sounds, and this encoder is to see: train with --recipe sound, or"),
    (["--recipe", "sound", "--set=image_tower=conv", "--set=seconds=0"], "all 3 are sounds, and this encoder is to"),
])  # fmt: skip
def test_sounds_for_an_encoder_that_sees_are_told_in_one_line(asked, said, folder, tmp_path):
    (folder / "red.png").unlink()
    done = mmr("train", folder, "--out", tmp_path / "run", *asked)
    assert done.exit_code == 2 and said in done.stderr.splitlines()[-1] and "skipped" not in done.stderr


def test_pictures_for_one_that_hears_are_told_in_one_line(folder, tmp_path):
    (folder / "red.txt").write_text("red", "utf-8")
    [file.unlink() for file in folder.glob("*.wav")]
    done = mmr("train", folder, "--out", tmp_path / "run", "--recipe", "sound")
    assert done.exit_code == 2 and "all 1 are pictures, and this encoder is to hear: leave" in done.stderr
    assert "skipped" not in done.stderr


def test_a_table_of_sounds_alone_makes_no_index_of_an_encoder_that_sees(folder, tmp_path):
    (folder / "t.csv").write_text("image,caption\nlow.wav,low\nhigh.wav,high\n", "utf-8")
    encoder = small_encoder(["a"], dim=16, image_size=32, image={"width": 16})
    with pytest.raises(BadRequest, match="t.csv has no pictures but sounds: give an encoder that hears with --model"):
        build(str(folder / "t.csv"), tmp_path / "index", encoder)
    assert not (tmp_path / "index").exists()


def test_an_index_of_broken_files_says_what_to_type_next(heard, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.flac").write_bytes(b"fLaC" + bytes(60))
    done = mmr("index", tmp_path / "bad", "--model", heard)
    assert done.exit_code == 4 and ": 0 sounds" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("nothing in it can be found: mend what ")
    assert f"then mmr index --index {tmp_path / 'bad' / '.mmr'}" in done.stderr


def test_sounds_are_counted_as_sounds(heard, folder, tmp_path):
    """What is told of copies, of what is handed out, of a figure and of captions that are missing."""
    (folder / "again.wav").write_bytes((folder / "low.wav").read_bytes())
    index = tmp_path / "index"
    assert mmr("index", folder, "--index", index, "--model", heard).exit_code == 0
    assert "group 1: 2 sounds" in mmr("dups", "--index", index).stdout
    done = mmr("search", "a low tone", "--index", index, "-k", "2", "--copy-to", tmp_path / "out")
    assert "2 sounds in " in done.stderr
    (folder / "red.png").unlink()
    done = mmr("eval", heard, f"folder:{folder}")
    assert done.stdout.startswith("3 sounds, 3 captions, ") and "words find their sound" in done.stdout
    assert f"sounds of folder:{folder} without a caption, which are left out: 1" in done.stderr
    done = mmr("train", folder, "--out", tmp_path / "run", "--recipe", "sound", "--exclude", "[hma]*.wav")
    assert "picture" not in done.stderr


def test_a_sound_in_place_of_queries_is_told(heard, folder):
    Retriever.build(str(folder), folder / ".mmr", load_encoder(str(heard)))[0].close()
    done = mmr("search", "--queries", folder / "low.wav", "--index", folder / ".mmr")
    said = f"low.wav is a sound, and --queries takes text: mmr search {folder / 'low.wav'}"
    assert done.exit_code == 2 and said in done.stderr


def test_an_empty_folder_beside_files_costs_itself_alone(sees, folder):
    (folder / "dir.wav").mkdir()
    done = mmr(
        "classify", folder / "red.png", folder / "dir.wav", "--labels", "a low tone,a high tone", "--model", sees
    )
    assert done.exit_code == 4 and "red.png" in done.stdout
    assert "dir.wav: a folder with nothing to look at or to hear" in done.stderr
    done = mmr("classify", folder / "dir.wav", folder / "dir.wav", "--labels", "a,b", "--model", sees)
    assert done.exit_code == 2 and done.stderr.splitlines()[-1].endswith("no picture or sound is there: give others")


def test_pairs_of_a_soundbook():
    pairs = open_pairs("soundbook:3?captions=full")
    assert len(pairs) == 3 and {pair.item.kind for pair in pairs} == {"sound"}
    assert load.windows_of(pairs[0].item, 1, 5.0).frames[0].size == (500, mel.BANDS)


def test_the_page_shows_and_plays_a_sound(heard, folder):
    from serving import served

    from cli.serve import shown

    Retriever.build(str(folder), folder / ".mmr", load_encoder(str(heard)))[0].close()
    with served(folder / ".mmr", toy=load_encoder(str(heard))) as client:
        at = f"/api/items/{shown.name_of('low.wav')}"
        assert client.get("/api/info").json()["indexes"][0]["unit"] == "sounds"
        thumb = Image.open(io.BytesIO(client.get(f"{at}/thumb?s=128").content))
        assert (thumb.format, thumb.size) == ("WEBP", (128, 128))
        file = client.get(f"{at}/file")
        assert file.headers["content-type"].startswith("audio/") and file.content == (folder / "low.wav").read_bytes()
        assert client.get(at).json()["kind"] == "sound"


def test_a_sound_has_no_places(both, folder):
    """The server says what `mmr locate` says, and no map of a spectrogram."""
    from serving import served

    from cli.serve import shown

    made = both[2]
    Retriever.build(str(folder), folder / ".mmr", made)[0].close()
    with served(folder / ".mmr", toy=made) as client:
        answer = client.get(f"/api/items/{shown.name_of('low.wav')}/places", params={"q": ["a low tone"]})
        assert client.get(f"/api/items/{shown.name_of('red.png')}/places", params={"q": ["a tone"]}).status_code == 200
    told = mmr("locate", str(folder / "low.wav"), "a low tone", "--model", "builtin").stderr
    assert (
        answer.status_code == 400 and "low.wav is a sound, which has no places: give a picture or a clip" in answer.text
    )
    assert "low.wav is a sound, which has no places: give a picture or a clip" in told
