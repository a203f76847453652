"""shards.json: which indexes, in which order and at which of their commits, are searched as one."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from indexes import durable, typed
from indexes.errors import Damaged, NewerFormat, NotAnIndex
from indexes.typed import Malformed, Meta

FILE = "shards.json"
FORMAT = 1
MOST = 4096  # shards: their rows, by ROWS, are below 2**53, which JSON of any hand can say

_Folder = Annotated[str, Meta(min_length=1, max_length=4096, pattern=r"^[^\x00]+\Z")]


@dataclass(frozen=True, slots=True)
class Part:
    """One shard.

    folder: as it is seen from the folder of the manifest. generation: the commit of it that is searched. rows: that it
    has then. first: how many rows the shards before it have.
    """

    folder: _Folder
    generation: typed.Natural
    rows: typed.Natural
    first: typed.Natural

    @property
    def name(self) -> str:
        """For people."""
        return Path(self.folder).name


@dataclass(frozen=True, slots=True)
class Made:
    """The encoder of all vectors, as an index's manifest has it: name, fingerprint, and the folder of a run."""

    name: str
    fingerprint: str
    folder: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What shards.json says.

    generation: of the manifest itself, one more with each that replaces another. dim: numbers in a row. origin: what an
    index's manifest says of where its items come from, as it is seen from the folder that holds the shards.
    """

    format: typed.Natural
    generation: typed.Natural
    dim: typed.Size
    encoder: Made
    shards: Annotated[tuple[Part, ...], Meta(min_length=1, max_length=MOST)]
    origin: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Rows of all shards."""
        return sum(part.rows for part in self.shards)

    def says(self) -> dict[str, Any]:
        """The same as one index's manifest would say it."""
        return self.origin | {"dim": self.dim, "generation": self.generation, "encoder": asdict(self.encoder)}


@dataclass(frozen=True, slots=True)
class _Format:
    format: typed.Natural


def parts(found: Sequence[tuple[str, int, int]]) -> tuple[Part, ...]:
    """Shards of (folder, generation, rows), one behind the other."""
    made, first = [], 0
    for folder, generation, rows in found:
        made.append(Part(folder, generation, rows, first))
        first += rows
    return tuple(made)


def read(folder: Path) -> Manifest:
    """What the manifest of a folder says. Raises NotAnIndex where there is none, NewerFormat, Damaged."""
    file = folder / FILE
    try:
        if typed.read(file, _Format).format > FORMAT:
            raise NewerFormat(f"{file} was written by a newer mmr: install that one")
        found = typed.read(file, Manifest)
        if found.shards != parts([(part.folder, part.generation, part.rows) for part in found.shards]):
            raise Malformed("the rows of the shards do not add up")
    except Malformed as error:
        raise Damaged(
            f"{file} is damaged ({error}): restore it, or split the index again with `mmr shards split`"
        ) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotAnIndex(
            f"no shards at {folder}: make them with `mmr shards split INDEX --into 4 --out {folder}`"
        ) from error
    return found


def write(folder: Path, manifest: Manifest) -> None:
    """Put it in place of the one before, durable when this returns."""
    durable.write_bytes(folder / FILE, json.dumps(asdict(manifest), indent=1).encode())
