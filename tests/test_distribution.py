"""The distribution's name stands in one place, and every line that says what to install has it."""

import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest

from indexes import distribution
from terminal import mmr

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CODE = [file for room in ("indexes", "retrieval", "eval", "cli") for file in sorted((ROOT / room).rglob("*.py"))]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "Makefile", ROOT / "pyproject.toml"]
PAGES += sorted({*(ROOT / "docs").rglob("*.md")} - {ROOT / "docs" / "log.md"})


def test_the_name_is_that_of_the_project_and_the_command_is_mmr():
    assert PROJECT["name"] == distribution.NAME == "mmr-retrieval"
    assert list(PROJECT["scripts"]) == ["mmr"]


def test_no_line_names_the_other_project_of_that_name():
    found = [
        f"{file.relative_to(ROOT)}: {line.strip()}"
        for file in [*CODE, *PAGES, *sorted({*(ROOT / "tests").glob("*.py")} - {Path(__file__).resolve()})]
        for line in file.read_text().splitlines()
        if re.search(r"pip3? install (-U )?['\"]?mmr\b(?!-retrieval)|(?<![\w-])mmr\\?\[", line)
    ]
    assert found == []


def test_every_extra_that_is_named_exists():
    extras = set(PROJECT["optional-dependencies"])
    code = "\n".join(file.read_text() for file in CODE)
    asked = set(re.findall(r"distribution\.install\([\"'](\w+)[\"']\)", code))
    assert {"heic", "video", "lora", "tensorboard", "preview", "plots"} <= asked <= extras
    for file in PAGES:
        assert set(re.findall(rf"{distribution.NAME}\[(\w+)\]", file.read_text())) <= extras, file


def test_without_mteb_its_adapter_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mteb.models.abs_encoder", None)
    monkeypatch.delitem(sys.modules, "eval.mteb", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'mmr-retrieval\[mteb\]'$"):
        importlib.import_module("eval.mteb")


def test_the_version_is_said_alone_on_stdout():
    result = mmr("--version")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"mmr {PROJECT['version']}\n", "")


def test_a_checkout_that_was_never_installed_has_a_version(monkeypatch):
    monkeypatch.setattr(distribution, "NAME", "nobody-has-installed-this")
    assert distribution.version() == PROJECT["version"]
