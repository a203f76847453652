"""Encoders: what is saved is what is loaded, open_clip's own vectors, clear errors where weights are missing."""

import json
import unicodedata

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from retrieval.encoders.build import small_encoder
from retrieval.encoders.load import load_encoder
from retrieval.encoders.preprocess import Preprocess
from retrieval.encoders.presets import PRESETS
from retrieval.encoders.tokenizers.captions import CaptionTokenizer
from retrieval.encoders.tokenizers.rows import PAD
from retrieval.errors import BadRequest, MissingModel
from retrieval.towers import text as text_towers
from retrieval.towers.layers import RowDropout

PICTURES = [Image.effect_noise((size, 40), 80).convert("RGB") for size in (30, 40, 90)]
CAPTIONS = ["a dog runs", "two cats on a red sofa", "一只狗"]


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return small_encoder(
        CAPTIONS * 3, dim=16, image_size=32, image={"width": 16}, text={"width": 64, "layers": 1}
    ).eval()


def test_vectors_have_unit_length_and_either_tower_may_be_called_alone(small):
    for vectors in (small.encode_images(PICTURES), small.encode_texts(CAPTIONS)):
        assert vectors.dtype == np.float32
        assert vectors.flags.c_contiguous
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert small(tokens=torch.from_numpy(small.tokenize(["x"]))).image is None
    assert small.encode_texts([]).shape == (0, 16)


def test_a_picture_or_text_does_not_see_the_others_of_its_batch(small):
    together, alone = small.encode_images(PICTURES), np.concatenate([small.encode_images([p]) for p in PICTURES])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    # The short text is padded to the longest one of its batch.
    np.testing.assert_allclose(
        small.encode_texts(CAPTIONS), np.concatenate([small.encode_texts([c]) for c in CAPTIONS]), atol=1e-5
    )


def test_texts_of_like_length_go_through_together_and_come_out_in_order(monkeypatch):
    texts = torch.from_numpy(CaptionTokenizer.learn(CAPTIONS, 300, 64)([*CAPTIONS, "x", "", "a dog", "dogs " * 12]))
    torch.manual_seed(0)
    tower = text_towers.TextTransformer(8, 400, width=64, dropout=0.4).train()

    def answer():
        for number, drop in enumerate(part for part in tower.modules() if isinstance(part, RowDropout)):
            drop.stream.manual_seed(number)
        return tower(texts)

    whole = answer()
    monkeypatch.setattr(text_towers, "ALIKE", 2)
    torch.testing.assert_close(answer(), whole)


@pytest.mark.parametrize(
    ("kind", "pool"),
    [
        ({"type": "conv", "width": 16}, lambda places: places.clamp(min=1e-4).pow(3).mean(1).pow(1 / 3)),
        ({"type": "vit", "width": 64, "layers": 1}, lambda places: places.mean(1)),
    ],
    ids=["conv", "vit"],
)
def test_patches_are_what_the_picture_is_pooled_from(kind, pool):
    encoder = small_encoder(CAPTIONS, dim=16, image_size=32, image=kind, text={"width": 64, "layers": 1}).eval()
    assert encoder.sequences == ("words", "patches")
    places = encoder.encode_patches(PICTURES)
    assert places.shape[:2] == (len(PICTURES), 4)  # 32 pixels in steps of 16
    again = torch.nn.functional.normalize(encoder.image_tower.project(pool(torch.from_numpy(places))), dim=1)
    np.testing.assert_allclose(again.detach().numpy(), encoder.encode_images(PICTURES), atol=1e-5)


def test_a_tower_that_has_no_patches_offers_none():
    encoder = small_encoder(CAPTIONS, dim=16, image_size=32, image={"type": "mlp", "widths": [16]}).eval()
    assert encoder.sequences == ("words",)
    with pytest.raises(NotImplementedError, match="PixelMlp gives no patches"):
        encoder.encode_patches(PICTURES)


def test_saved_and_loaded_it_is_the_same(small, tmp_path):
    small.save(tmp_path / "run")
    loaded = load_encoder(str(tmp_path / "run"))
    assert (
        loaded.fingerprint
        == small.fingerprint
        == json.loads((tmp_path / "run/encoder.json").read_text())["fingerprint"]
    )
    np.testing.assert_array_equal(loaded.encode_texts(CAPTIONS), small.encode_texts(CAPTIONS))
    np.testing.assert_array_equal(loaded.encode_images(PICTURES), small.encode_images(PICTURES))


def test_the_fingerprint_tells_encoders_apart(small, tmp_path):
    small.save(tmp_path / "run")
    other = load_encoder(str(tmp_path / "run"))
    before = other.fingerprint
    with torch.no_grad():
        next(other.text_tower.parameters())[1, 0] += 1e-6
    other.forget_fingerprint()
    assert other.fingerprint != before
    with torch.no_grad():
        other.log_logit_scale += 1  # decides no vector
    changed = other.fingerprint
    other.forget_fingerprint()
    assert other.fingerprint == changed


def test_fast_precision_keeps_the_vectors_and_the_fingerprint(small, tmp_path):
    small.save(tmp_path / "run")
    fast = load_encoder(str(tmp_path / "run")).to_fast_precision("bf16")
    assert fast.fingerprint == small.fingerprint
    assert (fast.encode_images(PICTURES) * small.encode_images(PICTURES)).sum(1).min() > 0.999
    assert (fast.encode_texts(CAPTIONS) * small.encode_texts(CAPTIONS)).sum(1).min() > 0.999


@pytest.mark.parametrize("damage", ["truncate", "json", "no manifest", "newer"])
def test_a_damaged_run_is_said(small, tmp_path, damage):
    run = tmp_path / "run"
    small.save(run)
    if damage == "truncate":
        (run / "encoder.safetensors").write_bytes((run / "encoder.safetensors").read_bytes()[:500])
    elif damage == "json":
        (run / "encoder.json").write_text("{")
    elif damage == "newer":
        manifest = json.loads((run / "encoder.json").read_text()) | {"format": 99}
        (run / "encoder.json").write_text(json.dumps(manifest))
    else:
        (run / "encoder.json").unlink()
    with pytest.raises(MissingModel, match="newer mmr" if damage == "newer" else "no trained encoder|is damaged"):
        load_encoder(str(run))


# ---------------------------------------------------------------- open_clip


@pytest.mark.parametrize("size", [(30, 40), (400, 300), (224, 224), (1000, 37)])
@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
def test_preprocess_equals_open_clips(size, mode):
    image = Image.effect_noise(size, 100).convert("RGB")
    theirs = open_clip.image_transform(
        64, is_train=False, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), resize_mode=mode, interpolation="bicubic"
    )(image)
    ours = Preprocess(64, mode, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    got = ours.normalize(torch.from_numpy(ours(image)[None]))[0]
    torch.testing.assert_close(got, theirs, rtol=1e-5, atol=1e-5)


def test_a_local_checkpoint_gives_open_clips_own_vectors(tiny_open_clip):
    model, weights = tiny_open_clip
    encoder = load_encoder(f"open_clip:mmr-tiny/{weights}")
    transform = open_clip.image_transform(32, is_train=False, resize_mode="shortest", interpolation="bicubic")
    with torch.inference_mode():
        images = model.encode_image(torch.stack([transform(p) for p in PICTURES]), normalize=True).numpy()
        texts = model.encode_text(open_clip.get_tokenizer("mmr-tiny")(CAPTIONS), normalize=True).numpy()
    np.testing.assert_allclose(encoder.encode_images(PICTURES), images, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(CAPTIONS), texts, atol=1e-5)


def test_an_open_clip_encoder_can_be_saved_as_a_run(tiny_open_clip, tmp_path):
    encoder = load_encoder(f"open_clip:mmr-tiny/{tiny_open_clip[1]}")
    encoder.save(tmp_path / "run")
    again = load_encoder(str(tmp_path / "run"))
    assert again.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(again.encode_texts(CAPTIONS), encoder.encode_texts(CAPTIONS))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("small", MissingModel, "cannot be reached.*--model open_clip:ViT-B-32-256/FILE.*mmr train"),
        ("smal", MissingModel, "did you mean `small`"),
        ("open_clip:ViT-B-32-25/x", BadRequest, "did you mean ViT-B-32-256"),
        ("open_clip:ViT-B-32-256/datacomp", BadRequest, "did you mean datacomp_s34b_b86k"),
        ("open_clip:ViT-B-32", BadRequest, "which weights"),
        ("open_clip:ViT-B-32/./none.pt", MissingModel, "no weights file"),
        (".", MissingModel, "no trained encoder"),
    ],
)
def test_what_cannot_be_loaded_is_said_at_once(name, error, message):
    with pytest.raises(error, match=message):
        load_encoder(name)


def test_a_pickle_that_would_run_code_is_refused(tmp_path, tiny_open_clip):
    import pickle

    class Harm:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    (tmp_path / "bad.pt").write_bytes(pickle.dumps(Harm()))
    with pytest.raises(MissingModel, match="is no checkpoint of mmr-tiny"):
        load_encoder(f"open_clip:mmr-tiny/{tmp_path}/bad.pt")
    assert not (tmp_path / "harm").exists()


def test_presets_are_names_that_open_clip_knows():
    for preset in PRESETS.values():
        name, _, tag = preset.model.removeprefix("open_clip:").partition("/")
        assert tag in open_clip.list_pretrained_tags_by_model(name)


# ---------------------------------------------------------------- tokens


def test_tokens_of_any_script_come_back_from_json():
    tokenizer = CaptionTokenizer.learn(CAPTIONS * 3, 500, 8)
    again = CaptionTokenizer.from_json(tokenizer.to_json(), 8)
    texts = ["A DOG runs", "一只狗", "café 🐶 naïve", "\x00\u200b", "", "word " * 50]
    np.testing.assert_array_equal(tokenizer(texts), again(texts))
    rows = tokenizer.rows(texts)
    assert tokenizer.rows(["a dog runs"])[0] == rows[0]  # lower-cased
    assert len(rows[-1]) == 8  # cut to the context
    assert all(PAD not in row for row in rows)
    assert tokenizer([""]).shape == (1, 1)


PAIRS = [
    ("ガラス", "カラス"),  # glass, crow
    ("パン", "ハン"),  # bread, a seal
    ("फल", "फूल"),  # fruit, flower
    ("दिन", "दीन"),  # day, poor
    ("ม้า", "มา"),  # horse, come
    ("หมา", "หม่า"),
    ("bơ", "bò"),  # butter, cow
    ("dừa", "dứa"),  # coconut, pineapple
    ("schon", "schön"),
    ("סֵפֶר", "סַפָּר"),  # book, barber
    ("عِلْم", "عَلَم"),  # science, flag
]


def spelled(text):
    """The ways in which Unicode spells a text that people see as one."""
    return [unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD")]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_letters_keep_their_marks_however_they_are_spelled(one, other):
    for captions in ([one, other] * 3, ["a dog"] * 3):
        tokenizer = CaptionTokenizer.learn(captions, 500, 32)
        rows = [tokenizer.rows(spelled(text)) for text in (one, other)]
        assert all(row == same[0] for same in rows for row in same)
        assert rows[0][0] != rows[1][0]


def test_forms_and_case_and_the_colour_of_an_emoji_make_no_difference():
    tokenizer = CaptionTokenizer.learn(["a dog"] * 3, 300, 64)
    for one, other in (
        ("ｶﾞﾗｽ", "ガラス"),
        ("ＤＯＧ", "dog"),
        ("ÉCOLE", "e\u0301cole"),
        ("❤\ufe0f", "❤"),
        ("İ", "i\u0307"),
    ):
        assert tokenizer.rows([one]) == tokenizer.rows([other])


def test_a_run_that_learned_without_marks_goes_on_so():
    old = json.loads(CaptionTokenizer.learn(["a dog"] * 3, 300, 32).to_json())
    old["normalizer"] = {
        "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": True,
        "lowercase": True,
    }  # fmt: skip
    again = CaptionTokenizer.from_json(json.dumps(old), 32)
    assert again.rows(["ガラス"]) == again.rows(["カラス"])
    assert json.loads(again.to_json())["normalizer"] == old["normalizer"]


def test_half_a_character_in_a_query_is_read_as_the_sign_for_what_is_no_character(small):
    assert np.array_equal(small.encode_texts(["a cut \ud83d"]), small.encode_texts(["a cut \ufffd"]))


@pytest.mark.parametrize("part", ["normalizer", "pre_tokenizer"])
def test_a_tokenizer_with_an_expression_that_never_ends_is_refused(part):
    said = json.loads(CaptionTokenizer.learn(["a dog"] * 3, 300, 32).to_json())
    pattern = {"Regex": "(a+)+$"}
    odd = {
        "normalizer": {"type": "Replace", "pattern": pattern, "content": ""},
        "pre_tokenizer": {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False},
    }
    for other in (odd[part], None):
        with pytest.raises(ValueError, match="a tokenizer that mmr has not learned"):
            CaptionTokenizer.from_json(json.dumps(said | {part: other}), 32)
