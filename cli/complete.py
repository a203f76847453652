"""What the shell offers for a word that is being typed: indexes, models, fields. It must answer at once: no NumPy here.

Whatever is wrong with an index, the shell is offered nothing: an error has no place on the line that is being typed.
"""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import typer

from indexes import foreign
from retrieval.indexing.fields import names as record_names
from retrieval.indexing.find import FOLDER

_DATABASE, _SHARDS, _RUN = "mmr.db", "shards.json", "encoder.json"
_LOOKED_AT = 200  # items whose fields are offered


def indexes(incomplete: str) -> list[str]:
    """Folders that are indexes, and folders on the way to one."""
    found = []
    for folder in _folders(incomplete):
        inside = Path(folder, FOLDER)
        found += [folder] if any(Path(folder, name).is_file() for name in (_DATABASE, _SHARDS)) else [f"{folder}/"]
        found += [str(inside)] if Path(inside, _DATABASE).is_file() else []
    hidden = Path(incomplete or ".", FOLDER) if incomplete in ("", "./") or incomplete.endswith("/") else None
    if hidden and Path(hidden, _DATABASE).is_file():
        found.append(str(hidden))
    return sorted(set(found))


def models(incomplete: str) -> list[str]:
    """Presets, run folders, and folders on the way to one."""
    from retrieval.encoders.presets import PRESETS

    named = [name for name in (*PRESETS, "open_clip:") if name.startswith(incomplete)]
    return named + [folder if Path(folder, _RUN).is_file() else f"{folder}/" for folder in _folders(incomplete)]


def fields(ctx: typer.Context, incomplete: str) -> list[str]:
    """The expression so far, its last word grown to the name of a field of the index."""
    begun = re.search(r"(?:^|(?<=[\s(]))(?:[^\W\d][\w.]*)?$", incomplete)
    if not begun:  # a value, say
        return []
    stem, word = incomplete[: begun.start()], begun.group()
    names = sorted(_names(_index_of(ctx.params.get("index_dir"))))
    plain = [name if re.fullmatch(r"[^\W\d][\w.]*", name) else f"`{name}`" for name in names]
    return [stem + name for name in plain if name.startswith(word)]


def _folders(incomplete: str) -> list[str]:
    parent, slash, begun = incomplete.rpartition("/")
    try:
        found = sorted(path.name for path in Path(parent + slash or ".").iterdir() if path.is_dir())
    except OSError:
        return []
    shown = begun.startswith(".")
    return [parent + slash + name for name in found if name.startswith(begun) and (shown or not name.startswith("."))]


def _index_of(given: Path | str | None) -> Path | None:
    if given:
        return Path(given)
    here = Path.cwd()
    return next((folder / FOLDER for folder in (here, *here.parents) if (folder / FOLDER).is_dir()), None)


def _names(index: Path | None) -> set[str]:
    file = index / _DATABASE if index else None
    if not file or not file.is_file():
        return set()
    try:
        with closing(foreign.open_read_only(file, {"items": ("fields", "died")})) as database:
            records = [json.loads(text) for (text,) in _some(database)]
    except (sqlite3.Error, ValueError, TypeError, RecursionError):
        return set()
    return {name for record in records if isinstance(record, dict) for name in record_names(record)}


def _some(database: sqlite3.Connection) -> sqlite3.Cursor:
    return database.execute("SELECT fields FROM items WHERE died IS NULL LIMIT ?", (_LOOKED_AT,))
