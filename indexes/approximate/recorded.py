"""What the manifest says of an approximate index, under "ann": typed, and as the JSON that lies on disk."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

KEY = "ann"  # of the manifest


@dataclass(frozen=True, slots=True)
class Point:
    """How hard to look: lists (or efSearch) visited, rows fetched for the re-rank; the recall@10 this gave on text.

    asked: the recall that was asked for. low: the lower end of the 95 % interval.
    """

    asked: float
    effort: int
    fetch: int
    recall: float
    low: float


@dataclass(frozen=True, slots=True)
class Recorded:
    """An approximate index as a commit names it. number: of its file. asked: the recall it is used for by default.

    It knows the rows from `rows_from` on and below `rows_below`. points: by rising recall.
    """

    number: int
    sha256: str
    spec: str
    rows_below: int
    asked: float
    rows_from: int = 0
    points: tuple[Point, ...] = ()

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "Recorded":
        """Read it. Raises KeyError, TypeError where it is none."""
        return cls(
            said["number"], said["sha256"], said["spec"], said["rows_below"], said["asked"],
            # An index without `rows_from` was written before it was: it may name rows that are no longer there.
            said.get("rows_from", 0), tuple(Point(**point) for point in said["points"]),
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """What the manifest holds of it."""
        return asdict(self)
