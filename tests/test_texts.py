"""Text files: their encoding is said wherever one is opened, and found out where it is a person's."""

import ast
import shutil
import subprocess
from pathlib import Path

import pytest

from retrieval.errors import BadRequest, ImageError
from retrieval.images import load
from retrieval.sources import texts
from retrieval.sources.registry import open_items

ROOT = Path(__file__).resolve().parents[1]
_OPENS = {"read_text": 0, "write_text": 1, "open": 1}  # name -> arguments that say no encoding
_RUNS = ("run", "Popen", "check_output")


def unsaid(code):
    """The lines of calls that open a text and leave its encoding to the machine."""
    for call in ast.walk(ast.parse(code)):
        if isinstance(call, ast.Call):
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            said = {keyword.arg for keyword in call.keywords}
            modes = {a.value for a in call.args if isinstance(a, ast.Constant)}
            is_text = name != "open" or said & {"newline", "errors"} or modes & {"r", "w", "a", "x"}
            opens = name in _OPENS and is_text and len(call.args) <= _OPENS[name]
            if "encoding" not in said and (opens or (name in _RUNS and "text" in said)):
                yield call.lineno


@pytest.mark.parametrize(
    "code", ["p.read_text()", "p.write_text('x')", "p.open('w')", "open(p, newline='')", "run(x, text=True)"]
)
def test_what_says_no_encoding_is_found(code):
    assert list(unsaid(code)) == [1]


def test_every_text_that_is_opened_says_its_encoding():
    found = [
        f"{file.relative_to(ROOT)}:{line}"
        for package in ("retrieval", "indexes", "cli", "eval", "docs")
        for file in (ROOT / package).rglob("*.py")
        for line in unsaid(file.read_text("utf-8"))
    ]
    assert found == []


def test_small_files_are_read_whole_and_what_is_unsure_is_refused(tmp_path):
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        (tmp_path / "t").write_bytes("grün\n".encode(encoding))
        assert texts.read(tmp_path / "t") == "grün\n"
    (tmp_path / "it is").write_bytes(b"one\ntwo\ngr\xfcn")
    with pytest.raises(BadRequest, match="line 3 is not UTF-8: convert it, as in iconv -f cp1252 -t utf-8 ") as caught:
        texts.read(tmp_path / "it is")
    if shutil.which("iconv"):  # what is said works as it is typed
        subprocess.run(str(caught.value).rpartition("as in ")[2], shell=True, check=True)
        assert texts.read(tmp_path / "it is") == "one\ntwo\ngrün"


def test_what_shall_be_left_out_is_not_taken_for_want_of_an_encoding(photos):
    (photos / ".mmrignore").write_bytes("blue é.png\n".encode("cp1252"))
    with pytest.raises(BadRequest, match="mmrignore: line 1 is not UTF-8: convert it"):
        list(open_items(str(photos)))
    (photos / ".mmrignore").write_bytes("blue é.png\n".encode("utf-16"))
    assert [item.uri for item in open_items(str(photos))] == ["red.png", "more/green.jpg"]


def test_captions_beside_a_picture_are_in_an_encoding_that_is_sure(photos):
    for encoding in ("utf-8-sig", "utf-16"):
        (photos / "red.txt").write_bytes("größer\nrot\n".encode(encoding))
        (item,) = (item for item in open_items(str(photos)) if item.uri == "red.png")
        assert item.captions == ("größer", "rot")
    (photos / "red.txt").write_bytes("rot\ngrößer\n".encode("cp1252"))
    found = {item.uri: item for item in open_items(str(photos))}
    assert found["red.png"].captions == ()  # it is a picture all the same
    with pytest.raises(ImageError, match="line 2 is not UTF-8: convert it, as with iconv -f cp1252 -t utf-8"):
        load.load(found["red.png: its captions"])
