"""A seal is believed of files beside it, as they were written."""

import hashlib
import json

from retrieval.encoders import sealed


def test_what_was_sealed_is_whole_until_a_file_of_it_changes(tmp_path):
    graph, weights = tmp_path / "image.onnx", tmp_path / "image.bin"
    graph.write_bytes(b"graph"), weights.write_bytes(b"weights")
    assert not sealed.is_whole(graph)
    sealed.seal(graph, [weights])
    assert sealed.is_whole(graph)
    weights.write_bytes(b"Weights")
    assert not sealed.is_whole(graph)


def test_a_seal_of_another_hand_names_no_file_elsewhere(tmp_path):
    folder = tmp_path / "query"
    folder.mkdir()
    for file in (folder / "image.onnx", tmp_path / "other"):
        file.write_bytes(b"x")
    digest = hashlib.sha256(b"x").hexdigest()
    for name in ("../other", str(tmp_path / "other")):
        (folder / "image.seal").write_text(json.dumps({"image.onnx": digest, name: digest}))
        assert not sealed.is_whole(folder / "image.onnx")
