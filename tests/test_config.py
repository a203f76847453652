"""What was said once for every command: an option before a variable, before the file, before what is built in."""

import os
import shutil
import tomllib

import pytest

from cli import config
from retrieval.errors import BadRequest
from terminal import fails, lines, mmr


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A configuration file that is not there yet, in a folder that is not there yet."""
    monkeypatch.setenv("MMR_CONFIG", str(tmp_path / "new" / "config.toml"))
    monkeypatch.delenv("MMR_ENGINE")
    return tmp_path / "new" / "config.toml"


def shown():
    return {one["name"]: (one["value"], one["from"]) for one in lines(mmr("config", "show", "--json"))}


def test_nothing_said_is_what_is_built_in(file):
    chosen = {"device": ("auto", "built-in"), "engine": ("auto", "built-in")}
    assert shown() == {"model": (None, "built-in"), "index": (None, "built-in")} | chosen
    assert mmr("config").stdout.splitlines() == [
        "model   small where it can be had, else builtin  (built-in)",
        "index   the .mmr of this folder, or of one above it  (built-in)",
        "device  auto  (built-in)",
        "engine  auto  (built-in)",
    ]
    assert not file.parent.exists()  # asking writes nothing


def test_set_get_unset(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert mmr("config", "set", "index", "photos.mmr").stdout == f"index = {tmp_path}/photos.mmr  ({file})\n"
    assert mmr("config", "set", "device", "cpu").exit_code == 0
    assert mmr("config", "set", "device", "cuda").exit_code == 0
    assert tomllib.loads(file.read_text()) == {"index": f"{tmp_path}/photos.mmr", "device": "cuda"}
    assert mmr("config", "get", "device").stdout == "cuda\n"
    assert mmr("config", "unset", "device").exit_code == 0
    assert mmr("config", "unset", "device").exit_code == 0  # it is not there now either
    assert mmr("config", "get", "device").stdout == "auto\n"
    assert mmr("config", "path").stdout == f"{file}\n"


def test_what_else_stands_in_the_file_stays(file):
    file.parent.mkdir()
    file.write_text('# mine\nmodel = "base" # a note\n')
    config.change("device", "cpu")
    assert file.read_text() == 'device = "cpu"\n# mine\nmodel = "base" # a note\n'
    config.forget("device")
    assert file.read_text() == '# mine\nmodel = "base" # a note\n'


@pytest.mark.parametrize("name", ['a "quoted" one', "back\\slash", "neue Fotos é", "tab\tline\nbreak"])
def test_odd_names_come_back_as_they_were(file, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    config.change("index", name)
    assert config.value("index") == str(tmp_path / name)


def test_a_name_that_is_no_text_is_refused_and_nothing_is_written(file):
    fails(mmr("config", "set", "index", os.fsdecode(b"\xff.mmr")), 2, "bytes that are no text", "give another index")
    assert not file.exists()


def test_a_file_that_cannot_be_changed_line_by_line_stays_as_it_is(file):
    file.parent.mkdir()
    file.write_text('model = """\nbase"""\n')
    fails(mmr("config", "set", "model", "small"), 2, "by hand")
    assert file.read_text() == 'model = """\nbase"""\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model = ", "is no TOML"), ("modle = 'small'", "did you mean `model`?"), ("device = 3", "config unset device"),
        ("device = 'gpu'", "use auto, cpu, cuda"), ("[model]\na = 1", "config unset model"), ("model = ''", "no text"),
    ],
)  # fmt: skip
def test_a_file_in_disorder_is_one_line_wherever_it_is_read(file, indexed, text, told):
    file.parent.mkdir()
    file.write_text(text)
    for words in (["config"], ["search", "a dog"], ["info"]):
        result = mmr(*words)
        fails(result, 2, told)
        assert result.stderr.count("\n") == 1
    assert mmr("info", "--index", indexed).exit_code == 0  # it needs nothing of the file


@pytest.mark.parametrize(
    ("name", "value", "code", "told"),
    [
        ("modle", "small", 2, "`model`"), ("model", "smal", 3, "`small`"), ("device", "gpu", 2, "use auto"),
        ("index", "", 2, "give"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_not_written(file, name, value, code, told):
    fails(mmr("config", "set", name, value), code, told)
    assert not file.exists()


def test_the_order_of_precedence_for_the_index(file, indexed, tmp_path, monkeypatch):
    places = {}
    for name in ("of-the-folder/.mmr", "of-the-file.mmr", "of-the-variable.mmr", "of-the-option.mmr"):
        places[name] = tmp_path / name
        shutil.copytree(indexed, places[name])
    monkeypatch.chdir(tmp_path / "of-the-folder")

    def asked(*words):
        (said,) = lines(mmr("info", "--json", *words))
        return said["path"] if "path" in said else said["index"]

    assert asked().endswith("of-the-folder/.mmr")
    config.change("index", str(places["of-the-file.mmr"]))
    assert asked().endswith("of-the-file.mmr")
    monkeypatch.setenv("MMR_INDEX", str(places["of-the-variable.mmr"]))
    assert asked().endswith("of-the-variable.mmr")
    assert shown()["index"] == (str(places["of-the-variable.mmr"]), "MMR_INDEX")
    assert asked("--index", places["of-the-option.mmr"]).endswith("of-the-option.mmr")


@pytest.mark.parametrize(("name", "set_to", "said"), [("device", "cpu", "cuda"), ("engine", "onnx", "int8")])
def test_the_order_of_precedence_for_the_device_and_the_engine(file, monkeypatch, name, set_to, said):
    from cli.commands import evaluating
    from retrieval.encoders import presets

    seen = []
    monkeypatch.setattr(presets, "require", lambda encoder: None)
    monkeypatch.setattr(evaluating, "run", lambda asked: seen.append(getattr(asked, name)) or 0)
    mmr("eval", "a", "b")
    config.change(name, set_to)
    mmr("eval", "a", "b")
    monkeypatch.setenv(f"MMR_{name.upper()}", said)
    mmr("eval", "a", "b")
    mmr("eval", "a", "b", f"--{name}", "auto")
    assert seen == ["auto", set_to, said, "auto"]
    with pytest.raises(BadRequest, match=f"no {name} `other`: use auto, "):
        config.change(name, "other")


def test_the_model_is_that_of_a_new_index_and_never_that_of_one_that_is_there(file, trained, photos, monkeypatch):
    monkeypatch.setenv("MMR_MODEL", str(trained))
    assert mmr("index", photos).exit_code == 0
    monkeypatch.setenv("MMR_MODEL", "open_clip:nothing/nowhere")
    result = mmr("index", photos)
    assert (result.exit_code, result.stdout.count("3 as before")) == (0, 1), result.output


def test_classify_asks_with_it_too(file, trained, photos):
    config.change("model", str(trained))
    assert len(lines(mmr("classify", photos / "red.png", "--labels", "a dog,a cat", "--json"))) == 2


def test_relative_paths_of_a_file_are_seen_from_it(file):
    file.parent.mkdir()
    (file.parent / "run").mkdir()
    file.write_text('index = "photos.mmr"\nmodel = "run"\n')
    assert config.value("index") == str(file.parent / "photos.mmr")
    assert config.value("model") == str(file.parent / "run")


def test_an_unknown_name_is_told_from_python_too(file):
    with pytest.raises(BadRequest, match="did you mean `device`"):
        config.value("devise")
