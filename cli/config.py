"""What a person said once for every command: the encoder, the index, the device and the engine where none is named.

    an option  >  MMR_MODEL, MMR_INDEX, MMR_DEVICE, MMR_ENGINE  >  the configuration file  >  what is built in

The file is $MMR_CONFIG, else `mmr/config.toml` in the platform's folder for such files; `mmr config set` writes it. Its
relative paths are seen from its own folder.
"""

import difflib
import json
import os
import re
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from indexes import durable
from retrieval import cache
from retrieval.encoders.presets import PRESETS, unknown
from retrieval.errors import BadRequest

# model: encoders/default.py chooses; index: the .mmr of this folder or of one above it
BUILT_IN = {"model": "", "index": "", "device": "auto", "engine": "auto"}
DEVICES, ENGINES = ("auto", "cpu", "cuda"), ("auto", "torch", "onnx", "openvino", "int8")


@dataclass(frozen=True, slots=True)
class Setting:
    """What holds for one name. value: "" where nothing is set. origin: a variable, the file, or "built-in"."""

    name: str
    value: str
    origin: str


def file() -> Path:
    """Where the configuration file is, or would be. Raises BadRequest where no home folder is known."""
    given = os.environ.get("MMR_CONFIG")
    if given:
        return Path(given).absolute()
    if sys.platform in ("win32", "darwin"):
        return Path(typer.get_app_dir("mmr"), "config.toml").absolute()
    return cache.base("XDG_CONFIG_HOME", ".config") / "mmr" / "config.toml"


def settings() -> list[Setting]:
    """What holds for every name where no option is given. Raises BadRequest for a file that makes no sense."""
    written = _read(file())
    return [_setting(name, written) for name in BUILT_IN]


def value(name: str) -> str:
    """What holds for a name where no option is given. Raises BadRequest for an unknown name, or a file in disorder."""
    _require(name)
    return _setting(name, _read(file())).value


def change(name: str, value: str) -> str:
    """Write a value into the file, which keeps what else stands in it; the value as it is written. Raises BadRequest.

    A path is written whole, so that it holds in every folder.
    """
    _require(name)
    value = _CHECKS[name](value)
    try:
        line = f"{name} = {json.dumps(value, ensure_ascii=False)}"
        line.encode()
    except UnicodeEncodeError:
        raise BadRequest(f"{value!r} holds bytes that are no text: give another {name}") from None
    _write(name, line)
    return value


def forget(name: str) -> None:
    """Take a name out of the file; nothing is done where it is not in it. Raises BadRequest for an unknown name."""
    _require(name)
    if name in _read(file(), lenient=True):
        _write(name, None)


def index_option(ctx: typer.Context, given: Path | None) -> Path | None:
    """What an --index that was not given, nor MMR_INDEX, is: the file's, or None."""
    return given or _for_option(ctx, "index", Path)


def device_option(ctx: typer.Context, param: typer.CallbackParam, given: str) -> str:
    """What a --device that was not given, nor MMR_DEVICE, is: the file's, or what is built in."""
    return _chosen(ctx, param, "device") or given


def engine_option(ctx: typer.Context, param: typer.CallbackParam, given: str) -> str:
    """What an --engine that was not given, nor MMR_ENGINE, is: the file's, or what is built in."""
    return _chosen(ctx, param, "engine") or given


def _chosen(ctx: typer.Context, param: typer.CallbackParam, name: str) -> str | None:
    source = ctx.get_parameter_source(param.name or "")
    return None if source and source.name != "DEFAULT" else _for_option(ctx, name, str)


def _for_option(ctx: typer.Context, name: str, kind: Callable[[str], Any]) -> Any:
    if ctx.resilient_parsing:  # the shell asks for completions: an error has no place there
        return None
    try:
        written = _read(file()).get(name)
    except BadRequest as error:
        raise typer.TyperException(str(error)) from error
    return written and kind(written)


# ---------------------------------------------------------------- what may be said


def _model(value: str) -> str:
    if Path(value).expanduser().is_dir():
        return str(Path(value).expanduser().absolute())
    if value in PRESETS or ":" in value:
        return value
    raise unknown(value)


def _device(value: str) -> str:
    if value not in DEVICES:
        raise BadRequest(f"no device `{value}`: use {', '.join(DEVICES)}")
    return value


def _engine(value: str) -> str:
    if value not in ENGINES:
        raise BadRequest(f"no engine `{value}`: use {', '.join(ENGINES)}")
    return value


def _index(value: str) -> str:
    if not value:
        raise BadRequest("an index without a name: give its folder, or `mmr config unset index`")
    return str(Path(value).expanduser().absolute())


_CHECKS: dict[str, Callable[[str], str]] = {"model": _model, "index": _index, "device": _device, "engine": _engine}


def _require(name: str) -> None:
    if name not in BUILT_IN:
        near = difflib.get_close_matches(name, BUILT_IN, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"use one of {', '.join(BUILT_IN)}"
        raise BadRequest(f"no such name in the configuration: `{name}`: {hint}")


# ---------------------------------------------------------------- the file


def _setting(name: str, written: dict[str, str]) -> Setting:
    variable = f"MMR_{name.upper()}"
    if said := os.environ.get(variable):
        return Setting(name, said, variable)
    return Setting(name, written[name], str(file())) if name in written else Setting(name, BUILT_IN[name], "built-in")


def _read(path: Path, lenient: bool = False) -> dict[str, str]:
    """Name -> value of the file, none where there is no file. lenient: only that it is TOML is asked."""
    try:
        said = tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except IsADirectoryError:
        raise BadRequest(f"{path} is a folder: give a file with MMR_CONFIG") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"{path} is no TOML ({error}): mend it, or remove it") from None
    return said if lenient else {name: _checked(path, name, value) for name, value in said.items()}


def _checked(path: Path, name: str, value: object) -> str:
    try:
        _require(name)
    except BadRequest as error:
        raise BadRequest(f"{path}: {error}") from None
    if not isinstance(value, str) or not value:
        raise BadRequest(f'{path}: {name} is no text in quotes: write {name} = "...", or `mmr config unset {name}`')
    if name == "device":
        return _device(value)
    seen_from_here = path.parent / Path(value).expanduser()
    return str(seen_from_here) if name == "index" or seen_from_here.is_dir() else value


def _write(name: str, line: str | None) -> None:
    """Put a line in place of that of a name, before any table; None takes it out. What else is there stays."""
    path = file()
    before = _read(path, lenient=True)
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    kept = [one for one in lines if not re.match(rf"\s*[\"']?{name}[\"']?\s*=", one)]
    text = "".join(f"{one}\n" for one in ([line] if line else []) + kept)
    after = {other: value for other, value in before.items() if other != name}
    after |= tomllib.loads(line) if line else {}
    try:
        understood = tomllib.loads(text) == after
    except tomllib.TOMLDecodeError:
        understood = False
    if not understood:
        raise BadRequest(f"{path} cannot be changed line by line: edit {name} in it by hand")
    durable.make_folder(path.parent)
    durable.write_bytes(path, text.encode())
