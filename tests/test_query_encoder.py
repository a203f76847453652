"""The query path: the towers' vectors without torch, and a cache that may be damaged or gone."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from retrieval import Retriever, cache, load_encoder
from retrieval.encoders import onnx_export, query_encoder
from retrieval.encoders.tokenizers import saved
from retrieval.encoders.tokenizers.clip import ClipTokenizer
from retrieval.encoders.tokenizers.open_clip import OpenClipTokenizer
from together import THREADS, fork, in_child, together

TEXTS = ["a dog", "two small red cats to the left of a house", "", "word " * 300, "一只狗 🐶"]


@pytest.fixture
def encoder(trained):
    return load_encoder(str(trained))


def test_equals_the_torch_tower(encoder):
    query_encoder.ensure_exported(encoder)
    query = query_encoder.open_query_encoder(encoder.fingerprint, lambda: encoder)
    np.testing.assert_allclose(query.encode_texts(TEXTS), encoder.encode_texts(TEXTS), atol=1e-5)
    picture = [Image.new("RGB", (40, 40), "red")]
    np.testing.assert_allclose(query.encode_images(picture), encoder.encode_images(picture), atol=1e-5)


@pytest.fixture(scope="session", params=["small", pytest.param("ViT-B-32-256", marks=pytest.mark.slow)])
def open_clip_encoder(request, open_clips, tmp_path_factory):
    """Of random weights; a small one, and one of a size that people use."""
    if request.param == "small":
        return load_encoder(open_clips["mmr-toy-vit"])
    open_clip = pytest.importorskip("open_clip")
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "random.pt"
    torch.save(open_clip.create_model(request.param).state_dict(), file)
    return load_encoder(f"open_clip:{request.param}/{file}")


def test_an_open_clip_encoder_without_torch(open_clip_encoder):
    folder = query_encoder.ensure_exported(open_clip_encoder)
    query = query_encoder.open_query_encoder(open_clip_encoder.fingerprint, lambda: open_clip_encoder)
    same = (query.encode_texts(TEXTS) * open_clip_encoder.encode_texts(TEXTS)).sum(1)
    assert same.min() > 0.99999
    alone = query.encode_texts(TEXTS[:1])  # a short line, cut to its four tokens
    assert (alone @ open_clip_encoder.encode_texts(TEXTS[:1]).T).item() > 0.99999

    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    pictures = [Image.new("RGB", (300, 200), "red"), Image.fromarray(noise)]
    expected = open_clip_encoder.encode_images(pictures)
    assert not (folder / onnx_export.IMAGE).exists()  # with the first picture that asks
    assert (query.encode_images(pictures) * expected).sum(1).min() > 0.99999

    def never():
        raise AssertionError("the whole encoder was loaded")

    again = query_encoder.open_query_encoder(open_clip_encoder.fingerprint, never)
    assert (again.encode_images(pictures) * expected).sum(1).min() > 0.99999


@pytest.fixture(scope="session")
def clip_tokenizers(tmp_path_factory):
    open_clip = pytest.importorskip("open_clip")
    folder = tmp_path_factory.mktemp("tokenizer")
    theirs = open_clip.get_tokenizer("ViT-B-32-256")
    return saved.load(folder, saved.save(OpenClipTokenizer(theirs), folder)), theirs


SCRIPTS = [
    (32, 126),
    (0, 0x24F),
    (0x370, 0x5FF),
    (0x900, 0xDFF),
    (0x3040, 0x9FFF),
    (0xAC00, 0xD7A3),
    (0x1F300, 0x1FAFF),
]
TEXT = st.one_of(
    st.text(max_size=80),
    *(st.text(st.characters(min_codepoint=low, max_codepoint=high), max_size=80) for low, high in SCRIPTS),
)


@settings(max_examples=300, deadline=None)
@given(TEXT)
@example("it's DOGS'Ll &amp;amp; <start_of_text> x\x00\x1b[31mred\x1c y")
@example("\ufb01ne \u201cq\u201d \uff46\uff55\uff4c\uff4c \u0130stanbul \u0391\u03a3 \u00df")
@example("antidisestablishmentarianism" * 20)
def test_clip_tokens_are_open_clips(clip_tokenizers, text):
    ours, theirs = clip_tokenizers
    np.testing.assert_array_equal(ours([text, text + " end"]), theirs([text, text + " end"]).numpy())


@pytest.mark.parametrize("clean", ["lower", "whitespace", "canonicalize"])
def test_clip_tokens_under_each_cleaning(tmp_path, clean):
    tokenizer = pytest.importorskip("open_clip").tokenizer.SimpleTokenizer(context_length=16, clean=clean)
    facts = saved.save(OpenClipTokenizer(tokenizer), tmp_path)
    assert facts == {"kind": "clip"}
    texts = ["A dog's  life_time, &lt;b&gt;!", "under_score? " * 20, "É. 犬"]
    np.testing.assert_array_equal(saved.load(tmp_path, facts)(texts), tokenizer(texts).numpy())


def test_a_tokenizer_that_draws_lots_or_cleans_its_own_way_is_not_saved(tmp_path):
    simple = pytest.importorskip("open_clip").tokenizer.SimpleTokenizer
    odd = simple()
    odd.clean_fn = str.upper
    for tokenizer in (simple(reduction_mask="random"), odd, str.split):
        assert not saved.can_save(OpenClipTokenizer(tokenizer))
        with pytest.raises(TypeError, match="OpenClipTokenizer cannot be saved"):
            saved.save(OpenClipTokenizer(tokenizer), tmp_path)
    assert not saved.can_save(str.split)


def test_a_hub_tokenizer_without_transformers(tmp_path):
    pytest.importorskip("transformers")
    from open_clip.tokenizer import HFTokenizer
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    learned = Tokenizer(models.BPE(unk_token="<unk>"))
    learned.pre_tokenizer = pre_tokenizers.Whitespace()
    learned.train_from_iterator(
        ["a dog runs on grass"] * 9, trainers.BpeTrainer(special_tokens=["<pad>", "<eos>", "<unk>"])
    )
    learned.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=learned, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(tmp_path)
    theirs = OpenClipTokenizer(HFTokenizer(str(tmp_path), context_length=8, clean="canonicalize"))
    facts = saved.save(theirs, tmp_path)
    texts = ["A dog!", "", "the grass runs " * 9]
    np.testing.assert_array_equal(saved.load(tmp_path, facts)(texts), theirs(texts))


def test_a_cold_text_query_imports_no_torch(encoder, photos, trained):
    Retriever.build(str(photos), photos / ".mmr", encoder)[0].close()
    code = (
        "import sys; sys.argv = ['mmr', 'search', 'a dog']\n"
        "from cli.main import app\n"
        "try: app()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(*sys.modules)"
    )
    env = {"MMR_CACHE": str(cache.folder()), "PYTHONPATH": str(Path(__file__).parents[1]), "PATH": ""}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=photos / "more", env=env, capture_output=True, text=True, check=True
    )
    *answers, modules = run.stdout.splitlines()
    assert len(answers) == 3
    assert not {"torch", "open_clip", "transformers", "datasets", "faiss"} & set(modules.split())


def test_a_damaged_or_missing_cache_never_stops_a_query(encoder, photos):
    Retriever.build(str(photos), photos / ".mmr", encoder)[0].close()
    folder = cache.folder(cache.QUERY) / encoder.fingerprint
    with Retriever.open(photos / ".mmr") as retriever:
        expected = retriever.search("a dog", 3)
        assert isinstance(retriever.encoder, query_encoder.QueryEncoder)
    (folder / onnx_export.TEXT).write_bytes(b"damaged")
    for _ in range(2):
        with Retriever.open(photos / ".mmr") as retriever:
            assert not isinstance(retriever.encoder, query_encoder.QueryEncoder)
            assert [hit.uri for hit in retriever.search("a dog", 3)] == [hit.uri for hit in expected]
        for file in folder.glob("*"):
            file.unlink()


def test_a_forked_child_opens_its_own_session(encoder):
    query_encoder.ensure_exported(encoder)
    query = query_encoder.open_query_encoder(encoder.fingerprint, lambda: encoder)
    expected, session = query.encode_texts(TEXTS).tolist(), query._text._session
    assert in_child(lambda: query.encode_texts(TEXTS).tolist() == expected) == "True"
    assert in_child(lambda: query.encode_texts(TEXTS).any() and query._text._session is not session) == "True"
    assert query._text._session is session


def test_threads_share_a_query_encoder_and_export_its_picture_tower_once(encoder, tmp_path, monkeypatch):
    monkeypatch.setenv("MMR_CACHE", str(tmp_path))
    loaded, exported, real = [], [], onnx_export.export_image_tower
    query_encoder.ensure_exported(encoder)

    def load():
        loaded.append(1)
        return encoder

    def export(*given):
        exported.append(1)
        return real(*given)

    monkeypatch.setattr(onnx_export, "export_image_tower", export)
    query = query_encoder.open_query_encoder(encoder.fingerprint, load)
    pictures = [Image.new("RGB", (40, 40), "red")]
    got = together(lambda number: (query.encode_images(pictures).tolist(), query.encode_texts(TEXTS).tolist()))
    assert got == [got[0]] * THREADS
    np.testing.assert_allclose(got[0][0], encoder.encode_images(pictures), atol=1e-5)
    assert (len(loaded), len(exported)) == (1, 1)


def test_a_tokenizer_is_saved_while_another_thread_encodes(encoder):
    tokenize, long = encoder.tokenize, ["word " * 300]
    shape = tokenize(long).shape

    def work(number):
        return (
            {tokenize(long).shape for _ in range(50)} if number else [tokenize.to_json() for _ in range(50)] and {shape}
        )

    assert together(work) == [{shape}] * THREADS


@fork
def test_clips_tokenizer_serves_threads_and_children(tmp_path, open_clip_encoder):
    file = query_encoder.ensure_exported(open_clip_encoder) / "tokenizer.db"
    tokenize = ClipTokenizer(file)
    texts = [f"a {word} of {word[::-1]}s" for word in ("dog", "umbrella", "xylophone", "zebra", "quartz")]
    expected = tokenize(texts).tolist()
    other = ClipTokenizer(file)
    assert together(lambda number: other(texts).tolist()) == [expected] * THREADS
    assert in_child(lambda: ClipTokenizer(file)(texts).tolist() == other(texts).tolist() == expected) == "True"
