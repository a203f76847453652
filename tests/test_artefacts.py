"""Runs, heads and exported encoders that somebody sends: one error of ours or something that works, and no hang.

Each probe puts one JSON value of any kind in place of one that mmr wrote.
"""

import json
import shutil
import sqlite3

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval import load_encoder
from retrieval.encoders import query_encoder
from retrieval.encoders.build import small_encoder
from retrieval.errors import BadRequest, MissingModel
from retrieval.heads import fusions
from retrieval.heads.config import HeadConfig
from retrieval.heads.head import Head, load_head
from retrieval.training import checkpoints

OURS = (BadRequest, MissingModel)
numbers = st.integers() | st.floats(allow_nan=True) | st.sampled_from([0, -1, 2**20, 2**31, 2**63, 10**30])
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)


def leaves(said, path=()):
    """The place of everything within a JSON value, itself first."""
    yield path
    entries = said.items() if isinstance(said, dict) else enumerate(said) if isinstance(said, list) else ()
    for key, inner in entries:
        yield from leaves(inner, (*path, key))


def with_value(said, path, value):
    """A copy with another value in that place."""
    if not path:
        return value
    copy = dict(said) if isinstance(said, dict) else list(said)
    copy[path[0]] = with_value(copy[path[0]], path[1:], value)
    return copy


def changed(draw, file):
    """The text of a JSON file with one value replaced."""
    said = json.loads(file.read_text())
    path = draw(st.sampled_from(list(leaves(said))))
    return json.dumps(with_value(said, path, draw(values)))


probing = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sent") / "run"
    small_encoder(["a red dog", "two cats"] * 3, dim=8, image_size=16, image={"width": 16, "blocks": [1, 1, 1]},
                  text={"width": 64, "layers": 1}).save(folder)  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def exported(run):
    encoder = load_encoder(str(run))
    return encoder, query_encoder.ensure_exported(encoder)


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sent") / "head"
    config, dims = HeadConfig(fusion="attention", width=8), {"image": 4, "text": 4}
    module = fusions.build(config, dims, 2)
    Head(module, config, ["dog", "cat"], "single", "animal", dims, "toy", "f" * 16).save(folder)
    return folder


def copy_of(folder, tmp_path):
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    return shutil.copytree(folder, tmp_path / "copy")


@probing
@given(data=st.data())
@pytest.mark.parametrize("name", ["encoder.json", "tokenizer.json"])
def test_a_run_is_an_encoder_or_one_error(run, tmp_path, name, data):
    sent = copy_of(run, tmp_path)
    (sent / name).write_text(changed(data.draw, run / name))
    try:
        encoder = load_encoder(str(sent))
    except OURS as error:
        assert "\n" not in str(error)
    else:
        assert encoder.dim == 8


@probing
@given(data=st.data())
@pytest.mark.parametrize("name", ["head.json", "config.json"])
def test_a_head_answers_or_is_one_error(head, tmp_path, name, data):
    sent = copy_of(head, tmp_path)
    (sent / name).write_text(changed(data.draw, head / name))
    try:
        assert load_head(sent).dims.keys() == {"image", "text"}
    except OURS as error:
        assert "\n" not in str(error)


@probing
@given(data=st.data())
@pytest.mark.parametrize("name", ["manifest.json", "tokenizer.json"])
def test_a_damaged_cache_never_stops_a_query(exported, tmp_path, name, data):
    encoder, folder = exported
    sent = copy_of(folder, tmp_path)
    (sent / name).write_text(changed(data.draw, folder / name))
    try:
        query = query_encoder.QueryEncoder(sent, lambda: encoder)
    except Exception as error:  # what open_query_encoder takes for "not there"
        assert not isinstance(error, MemoryError)
    else:
        vectors = query.encode_texts(["a red dog"])
        assert vectors.shape == (1, 8) and abs(np.linalg.norm(vectors) - 1) < 1e-3


@pytest.mark.parametrize(
    ("side", "change", "said"),
    [
        ("image", {"width": 1 << 20}, "by its manifest"),
        ("image", {"width": 1 << 40}, "`width` is"),
        ("image", {"blocks": [1 << 20, 1, 1]}, "`blocks` is"),
        ("text", {"layers": 1 << 20}, "`layers` is"),
        ("text", {"vocabulary": 1 << 23}, "by its manifest"),
        ("image", {"type": "timm", "name": "resnet18", "pretrained": "/etc/passwd"}, "weights of its own"),
        ("image", {"widths": [1] * 1000}, "1000 entries"),
    ],
)
def test_nothing_of_the_size_that_a_manifest_asks_for_is_made(run, tmp_path, side, change, said):
    sent = copy_of(run, tmp_path)
    manifest = json.loads((sent / "encoder.json").read_text())
    manifest[side] |= change
    (sent / "encoder.json").write_text(json.dumps(manifest))
    with pytest.raises(MissingModel, match=said):
        load_encoder(str(sent))


def test_a_head_as_wide_as_no_weights_are_is_refused_unmade(head, tmp_path):
    sent = copy_of(head, tmp_path)
    config = json.loads((sent / "config.json").read_text())
    (sent / "config.json").write_text(json.dumps(config | {"width": 1 << 24}))  # 2 PiB for the attention alone
    with pytest.raises(MissingModel, match="damaged"):
        load_head(sent)


def test_a_tokenizer_whose_table_is_an_endless_view_is_refused(tmp_path):
    from retrieval.encoders.tokenizers.clip import ClipTokenizer

    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS key, x AS value FROM n"
    with sqlite3.connect(tmp_path / "tokenizer.db") as made:
        made.execute("CREATE TABLE merges (pair, rank)")
        made.execute("CREATE TABLE tokens (token, id)")
        made.execute(f"CREATE VIEW facts AS {endless}")
    made.close()
    with pytest.raises(ValueError, match="no plain table `facts`"):
        ClipTokenizer(tmp_path / "tokenizer.db")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"step": -1, "evaluations": []}', '{"step": 3, "evaluations": [[1, {"recall": "x"}]]}']
)
def test_a_damaged_checkpoint_is_named(tmp_path, text):
    checkpoints.save(tmp_path, 3, {"weights": torch.zeros(2)}, {"evaluations": []})
    (tmp_path / "checkpoints" / "step_000003" / "state.json").write_text(text)
    with pytest.raises(BadRequest, match="step_000003 is damaged .*: remove it"):
        checkpoints.load_last(tmp_path, {})
