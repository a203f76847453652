"""What the tools answer with: the structured part of each answer, of which the protocol publishes the schema."""

from dataclasses import dataclass
from typing import Any

from cli.output import plain
from cli.output.hits import is_gone, why
from retrieval.datatypes import Hit


@dataclass(frozen=True)
class Found:
    """A picture of the index. gone: its file is not there any more. The scores are None where nothing was asked.

    by: why it answers, where words were asked beside meaning: the order is that of both then.
    """

    rank: int
    id: str
    path: str | None
    captions: list[str]
    kind: str
    score: float | None
    confidence: float | None
    gone: bool
    by: str | None = None

    @classmethod
    def of(cls, hit: Hit, asked: bool = True) -> "Found":
        """asked: it answers a query, and its score says something."""
        return cls(
            hit.rank, hit.id, hit.path, list(hit.captions), hit.kind, round(hit.score, 4) + 0.0 if asked else None,
            None if hit.confidence is None else round(hit.confidence, 3), is_gone(hit.path),
            None if hit.by is None else why(hit.by),
        )  # fmt: skip

    def line(self) -> str:
        """All of it in one line: clients may drop pictures and structured content."""
        return f"{self.rank}. {self.named()}"

    def named(self) -> str:
        """The same without its rank."""
        score = "" if self.score is None else f"  score {self.score:.3f}"
        sure = "" if self.confidence is None else f"  confidence {self.confidence:.0%}"
        sure += f"  by {self.by}" if self.by else ""
        kind = "" if self.kind == "picture" else f"  ({self.kind})"
        gone = "  (its file is gone)" if self.gone else ""
        captions = "".join(f'  "{plain.line(caption)}"' for caption in self.captions)
        path = f"  {plain.line(self.path)}" if self.path else ""
        return f"id:{plain.line(self.id)}{score}{sure}{kind}{gone}{path}{captions}"


@dataclass(frozen=True)
class Answers:
    """The pictures nearest to a query, the best first. notes: what to know of them; empty mostly."""

    hits: list[Found]
    notes: list[str]


@dataclass(frozen=True)
class Description:
    """All that the index knows of a picture. inside: where it lies in another file. fields: what `where` may ask."""

    id: str
    uri: str
    path: str | None
    captions: list[str]
    kind: str
    gone: bool
    inside: dict[str, Any] | None
    fields: dict[str, Any]


@dataclass(frozen=True)
class Shown:
    """Which picture was sent beside this. width, height: in pixels, as it was sent."""

    picture: Found
    width: int
    height: int


@dataclass(frozen=True)
class Tiles:
    """The pictures of a contact sheet: rank is the number on the tile. notes: of those that cannot be shown, why."""

    tiles: list[Found]
    notes: list[str]


@dataclass(frozen=True)
class FieldTold:
    """One field. items: how many of those that were looked at have it. types: of its values."""

    name: str
    items: int
    types: list[str]
    examples: list[Any]


@dataclass(frozen=True)
class Fields:
    """The fields that `where` may ask for. example: an expression that makes sense here, "" where there is no field."""

    fields: list[FieldTold]
    example: str
    looked_at: int


@dataclass(frozen=True)
class Info:
    """What is asked. recall: of the approximate search, measured on text; None where it is exact."""

    name: str
    index: str
    pictures: int
    encoder: str
    languages: list[str]
    folders: list[str]
    generation: int
    search: str
    recall: float | None


@dataclass(frozen=True)
class Infos:
    """What is asked: the first where a tool is given no other. notes: of those that cannot be asked now, why."""

    indexes: list[Info]
    notes: list[str]
