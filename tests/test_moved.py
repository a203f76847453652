"""An encoder that was moved: said once with --model where it is, it is found there from then on."""

import json
import shutil
from dataclasses import replace

import pytest

from indexes import Store
from retrieval import Retriever
from retrieval.encoders.load import load_encoder
from retrieval.errors import BadRequest, MissingModel
from retrieval.heads.head import load_head
from retrieval.indexing.catalog import Identity
from retrieval.training import recipes
from retrieval.training.loop import config_of, train
from terminal import fails, mmr


@pytest.fixture
def moved(tmp_path, trained, photos, cache):
    """(index, where the encoder is now); nothing of it is left in the cache."""
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    assert mmr("index", photos, "--index", tmp_path / "i.mmr", "--model", run).exit_code == 0
    run.rename(tmp_path / "moved")
    shutil.rmtree(cache / "query")
    return tmp_path / "i.mmr", tmp_path / "moved"


def place(index):
    with Store.open(index) as store:
        return Identity.required(store).where(index)


def test_the_message_is_the_command_to_type(moved, photos):
    index, _ = moved
    command = f"`mmr index --index {index} --model RUN`"
    fails(mmr("search", "a dog", "--index", index), 3, "which is gone", command)
    (photos / "red.png").unlink()
    fails(mmr("index", "--index", index), 3, "which is gone", command)


def test_index_is_told_once(moved, photos):
    index, now = moved
    result = mmr("index", "--index", index, "--model", now)
    assert (result.exit_code, "3 as before" in result.stdout) == (0, True), result.output
    assert place(index) == str(now)
    (photos / "red.png").unlink()
    assert mmr("index", "--index", index).exit_code == 0


def test_search_is_told_once(moved):
    index, now = moved
    assert mmr("search", "a dog", "--index", index, "--model", now).exit_code == 0
    assert place(index) == str(now)
    assert mmr("search", "a dog", "--index", index).exit_code == 0


def test_python_is_told_once(moved):
    index, now = moved
    with Retriever.open(index, load_encoder(str(now))):
        pass
    assert place(index) == str(now)


def test_another_encoder_is_not_remembered(moved, tmp_path, book):
    index, _ = moved
    mmr("train", book / "pairs.csv", "--out", tmp_path / "other", "--recipe", "smoke", "--set", "epochs=1")
    assert mmr("search", "a dog", "--index", index, "--model", tmp_path / "other").exit_code == 3
    with pytest.raises(MissingModel, match="which is gone"):
        place(index)


def test_weights_of_a_file_that_was_moved(tmp_path, tiny_open_clip, photos):
    _, weights = tiny_open_clip
    for name in ("before.pt", "after.pt"):
        shutil.copy(weights, tmp_path / name)
    first, then = (f"open_clip:mmr-tiny/{tmp_path / name}" for name in ("before.pt", "after.pt"))
    assert mmr("index", photos, "--index", tmp_path / "i.mmr", "--model", first).exit_code == 0
    assert mmr("index", "--index", tmp_path / "i.mmr", "--model", then).exit_code == 0
    assert place(tmp_path / "i.mmr") == then


def test_a_head_is_told_once(tmp_path, trained, photos):
    run, head = tmp_path / "run", tmp_path / "head"
    shutil.copytree(trained, run)
    rows = photos / "rows.csv"
    rows.write_text("image,caption,kind\n" + "red.png,red,a\nmore/green.jpg,green,b\n" * 4)
    words = ("head", "train", run, rows, "--label", "kind", "--out", head, "--set", "epochs=1")
    assert mmr(*words).exit_code == 0
    run.rename(tmp_path / "moved")
    asked = ("head", "predict", head, photos / "red.png")
    fails(mmr(*asked), 3, "which is gone", f"`mmr head predict {head} PICTURE --model RUN`")
    assert mmr(*asked, "--model", tmp_path / "moved").exit_code == 0
    assert load_head(head).encoder == str(tmp_path / "moved")
    assert mmr(*asked).exit_code == 0


def stopped(pairs, out, config):
    """A run that was stopped after its first step."""
    result = train(pairs, out, config, should_stop=lambda: True)
    assert not result.finished


def tiny(**more):
    config = recipes.smoke()
    return replace(config, epochs=2, **more)


@pytest.mark.parametrize("setting", ["encoder", "teacher"])
def test_a_run_goes_on_from_where_its_encoder_or_teacher_is_now(tmp_path, trained, book, setting):
    from retrieval import open_pairs

    pairs = open_pairs(f"csv:{book}/pairs.csv?split=dev")
    shutil.copytree(trained, tmp_path / "run")
    stopped(pairs, tmp_path / "out", tiny(**{setting: str(tmp_path / "run")}))
    (tmp_path / "run").rename(tmp_path / "moved")
    now = str(tmp_path / "moved")
    command = ("train", f"csv:{book}/pairs.csv?split=dev", "--out", tmp_path / "out", "--resume")
    told = "--model RUN" if setting == "encoder" else "--set teacher=RUN"
    fails(mmr(*command), 3, str(tmp_path / "run"), f"mmr train SOURCE --out {tmp_path / 'out'} --resume {told}")
    where = ("--model", now) if setting == "encoder" else ("--set", f"teacher={now}")
    result = mmr(*command, *where)
    assert result.exit_code == 0, result.output
    assert "resumed at step 1" in result.stderr
    assert getattr(config_of(tmp_path / "out"), setting) == now


def test_a_run_does_not_go_on_from_another_encoder(tmp_path, trained, book):
    from retrieval import open_pairs

    pairs = open_pairs(f"csv:{book}/pairs.csv?split=dev")
    stopped(pairs, tmp_path / "out", tiny(encoder=str(trained)))
    shutil.copytree(trained, tmp_path / "other")
    train(pairs, tmp_path / "more", tiny(encoder=str(trained)))
    before = json.loads((tmp_path / "out" / "config.json").read_text())
    with pytest.raises(BadRequest, match="other encoder"):
        train(pairs, tmp_path / "out", tiny(encoder=str(tmp_path / "more")), resume=True)
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == before
