"""What the cache holds, when it was last used, and making room in it."""

import os
import pwd
import time
from pathlib import Path

import pytest

from cli import config
from retrieval import cache as user_cache
from retrieval import load_encoder
from retrieval.encoders import presets, query_encoder
from retrieval.encoders.presets import PRESETS
from terminal import fails, mmr

DAY = 86_400


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def exported(cache, name, days, fingerprint=None):
    """An exported encoder that was last used that many days ago."""
    folder = cache / "query" / (fingerprint or name)
    folder.mkdir(parents=True)
    (folder / "text.bin").write_bytes(bytes(1000))
    (folder / "manifest.json").write_text(f'{{"name": "{name}"}}')
    age(folder, days)
    return folder


def age(path, days):
    for one in [path, *(path.iterdir() if path.is_dir() else ())]:
        os.utime(one, (time.time() - days * DAY,) * 2)


@pytest.mark.parametrize(
    ("set_to", "folder"),
    [({"MMR_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"), ({"XDG_CACHE_HOME": "/b"}, "/b/mmr"), ({}, "/h/.cache/mmr")],
)
def test_where_the_cache_is(monkeypatch, set_to, folder):
    monkeypatch.setenv("HOME", "/h")
    for name in ("MMR_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in set_to.items():
        monkeypatch.setenv(name, value)
    assert user_cache.folder() == Path(folder)
    assert user_cache.folder(user_cache.QUERY) == Path(folder) / "query"


def test_an_empty_cache_holds_nothing(cache):
    assert user_cache.encoders() == user_cache.prune(0) == []


def test_what_is_there_and_when_it_was_used(cache):
    exported(cache, "old", 40)
    exported(cache, "new", 2)
    found = user_cache.encoders()
    assert [(one.name, one.path.name) for one in found] == [("new", "new"), ("old", "old")]
    assert found[0].size == 1000 + len('{"name": "new"}')
    assert found[0].used == pytest.approx(time.time() - 2 * DAY, abs=60)


def test_what_was_not_used_for_long_is_removed(cache):
    exported(cache, "old", 31)
    new = exported(cache, "new", 29)
    bank = user_cache.folder(user_cache.BACKGROUND)
    bank.mkdir()
    for name, days in (("a.npy", 31), ("b.npy", 1)):
        (bank / name).write_bytes(b"1")
        age(bank / name, days)
    assert {one.path.name for one in user_cache.prune(30)} == {"old", "a.npy"}
    assert [one.path for one in user_cache.encoders()] == [new]
    assert [file.name for file in bank.iterdir()] == ["b.npy"]
    assert {one.path.name for one in user_cache.prune(0)} == {"new", "b.npy"}
    assert list((cache / "query").iterdir()) == []


def test_what_is_half_made_is_left_for_a_day(cache):
    for name, days in ((".partial-now", 0.1), (".partial-then", 1.1), ("damaged", 1.1)):
        folder = exported(cache, name, days)
        if name == "damaged":
            (folder / "manifest.json").write_text("{")
            age(folder, days)
    assert user_cache.encoders() == []
    assert {one.path.name for one in user_cache.prune(0)} == {".partial-then", "damaged"}


def test_a_query_is_a_use_and_what_was_removed_is_made_again(cache, trained):
    encoder = load_encoder(str(trained))
    folder = query_encoder.ensure_exported(encoder)
    age(folder, 100)
    assert query_encoder.open_query_encoder(encoder.fingerprint, lambda: encoder) is not None
    assert user_cache.prune(30) == []
    (found,) = user_cache.encoders()
    assert found.name == str(trained)
    user_cache.prune(0)
    assert query_encoder.open_query_encoder(encoder.fingerprint, lambda: encoder) is None
    assert query_encoder.ensure_exported(encoder) == folder


def test_the_weights_of_presets_are_seen_in_the_hubs_cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "none"))
    monkeypatch.setattr("huggingface_hub.utils._cache_manager.HF_HUB_CACHE", str(tmp_path / "none"), raising=False)
    assert presets.downloads() == {}
    repository = tmp_path / "none" / ("models--" + PRESETS["small"].hub.replace("/", "--"))
    blob = repository / "blobs" / "b1"
    snapshot = repository / "snapshots" / ("0" * 40)
    for folder in (blob.parent, snapshot, repository / "refs", tmp_path / "none" / "models--a--b"):
        folder.mkdir(parents=True)
    blob.write_bytes(bytes(5000))
    (snapshot / "open_clip_model.safetensors").symlink_to(blob)
    (repository / "refs" / "main").write_text("0" * 40)
    assert presets.downloads() == {"small": 5000}


def test_the_hub_of_a_preset_is_that_of_open_clip():
    import open_clip

    for preset in PRESETS.values():
        name, _, tag = preset.model.removeprefix("open_clip:").partition("/")
        assert open_clip.get_pretrained_cfg(name, tag)["hf_hub"].rstrip("/") == preset.hub


# ---------------------------------------------------------------- whose cache it is


@pytest.fixture
def nobody(monkeypatch):
    """Nothing says where anything of this user is, but for the system itself."""
    for name in ("MMR_CACHE", "MMR_CONFIG", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize("said", [None, "", "rel/ative"])
def test_a_home_that_is_none_is_asked_of_the_system(nobody, said):
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        if said is not None:
            nobody.setenv(name, said)
    assert user_cache.folder("query") == home / ".cache" / "mmr" / "query"
    assert config.file() == home / ".config" / "mmr" / "config.toml"


def test_no_home_at_all_is_one_line_with_the_next_thing_to_type(nobody, indexed):
    def unknown(number):
        raise KeyError(number)

    nobody.setattr(pwd, "getpwuid", unknown)
    fails(mmr("search", "a dog", "--index", indexed), 2, "no home folder", "set HOME")
    nobody.setenv("MMR_CACHE", "/nowhere/at/all")
    nobody.setenv("MMR_CONFIG", "/nowhere/at/all.toml")
    assert user_cache.folder() == Path("/nowhere/at/all")
    assert mmr("info", "--index", indexed).exit_code == 0
