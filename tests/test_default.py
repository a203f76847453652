"""Which encoder is taken where nobody names one; the model hub is played."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.commands import indexing, predicting
from retrieval import hub, packages
from retrieval.encoders import default
from retrieval.errors import MissingModel
from terminal import fails, mmr

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def taken(monkeypatch):
    """The encoders that a command loads; instead of loading it is ended."""
    names = []

    def load(name, *rest):
        names.append(name)
        raise MissingModel("enough: stop")

    monkeypatch.setattr(indexing.bulk, "load_for_bulk", load)
    monkeypatch.setattr(predicting, "encoder_of", load)
    return names


@pytest.fixture
def machine(monkeypatch):
    """Says what is had: machine(cached=..., answers=..., installed=...)."""

    def be(cached=False, answers=False, installed=True):
        monkeypatch.setattr(hub, "cached", lambda *_: [Path("weights")] if cached else [])
        monkeypatch.setattr(hub, "_is_cut_off", lambda: not answers)
        monkeypatch.setattr(packages, "is_installed", lambda package: installed)
        import huggingface_hub

        class Session:
            def head(self, *_, **__):
                if answers == "no":
                    raise OSError("slow")

        monkeypatch.setattr(huggingface_hub, "get_session", Session)

    return be


def chosen():
    said = []
    return default.choose(said.append), said


def test_small_where_it_is_here_or_can_be_fetched(machine):
    machine(cached=True)
    assert chosen() == ("small", [])
    machine(answers=True)
    assert chosen() == ("small", [])


@pytest.mark.parametrize("answers", [False, "no"])
def test_builtin_elsewhere_and_said_with_the_way_to_change(machine, answers):
    machine(answers=answers)
    name, said = chosen()
    assert name == "builtin"
    (line,) = said
    assert "`builtin` is taken" in line and line.index("cannot be reached") < line.index("`mmr index --model small`")


def test_with_neither_both_ways_are_named(machine):
    machine(installed=False)
    with pytest.raises(MissingModel, match="hub cannot be reached.*open_clip:.*/FILE.*`builtin` needs.*pip install"):
        chosen()


def test_index_and_classify_take_it(machine, taken, photos):
    machine()
    for words in (("index", photos), ("classify", photos / "red.png", "--labels", "a,b")):
        result = mmr(*words)
        fails(result, 3, "enough")
        assert sum("`builtin` is taken" in line for line in result.stderr.splitlines()) == 1
    assert taken == ["builtin", "builtin"]
    machine(cached=True)
    result = mmr("index", photos)
    assert taken[2:] == ["small"] and "is taken" not in result.stderr


def test_what_is_named_is_not_chosen(machine, taken, photos, monkeypatch, trained):
    machine(installed=False)
    fails(mmr("index", photos, "--model", trained), 3, "enough")
    monkeypatch.setenv("MMR_MODEL", str(trained))
    fails(mmr("index", photos), 3, "enough")
    assert taken == [str(trained)] * 2
    monkeypatch.setenv("MMR_MODEL", "small")
    fails(mmr("index", photos), 3, "hub cannot be reached", "--model builtin")


def test_an_index_keeps_its_encoder(machine, photos, trained):
    assert mmr("index", photos, "--model", trained).exit_code == 0
    machine(installed=False)
    (photos / "red.png").unlink()
    again = mmr("index", photos)
    assert again.exit_code == 0 and "1 removed" in again.stdout, again.output


def test_models_says_it(machine):
    machine()
    assert "`mmr index` takes small where it can be had, else builtin" in mmr("models").stderr


def test_to_choose_imports_no_torch():
    told = "from retrieval.encoders import default; print(default.choose(print)); print('torch' in sys.modules)"
    alone = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": "/nowhere"}
    code = f"import sys; {told}"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=alone, capture_output=True, text=True)
    if "needs the weights" in ran.stderr:
        pytest.skip("the packages of builtin are not installed")
    assert ran.stdout.splitlines()[1:] == ["builtin", "False"], ran.stderr
