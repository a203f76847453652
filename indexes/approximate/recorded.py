"""What the manifest says of an approximate index, under "ann": typed, and as the JSON that lies on disk."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from indexes import typed
from indexes.typed import Natural

KEY = "ann"  # of the manifest


@dataclass(frozen=True, slots=True)
class Point:
    """How hard to look: lists (or efSearch) visited, rows fetched for the re-rank; the recall@10 this gave on text.

    asked: the recall that was asked for. low: the lower end of the 95 % interval.
    """

    asked: float
    effort: Natural
    fetch: Natural
    recall: float
    low: float


def cheapest(points: Iterable[Point], recall: float) -> Point | None:
    """Of points by rising recall, the first that was measured to give this one, or None."""
    return next((point for point in points if point.asked >= recall - 1e-9), None)


@dataclass(frozen=True, slots=True)
class Recorded:
    """An approximate index as a commit names it. number: of its file. asked: the recall it is used for by default.

    It knows the rows from `rows_from` on and below `rows_below`. points: by rising recall.
    """

    number: Natural
    sha256: str
    spec: str
    rows_below: Natural
    asked: float
    rows_from: Natural = 0  # where it is not said, it may name rows that are no longer there
    points: tuple[Point, ...] = ()

    @classmethod
    def from_json(cls, said: Any) -> "Recorded":
        """Read it. Raises Malformed where it is none."""
        return typed.checked(said, cls)

    def to_json(self) -> dict[str, Any]:
        """What the manifest holds of it."""
        return asdict(self)
