"""Answers as JSON, the same wherever they are given: hits, and the names of items in addresses."""

import base64
import binascii
import hashlib
from typing import Any
from urllib.parse import quote

from cli.output.hits import why
from cli.serve.shelf import Shelf
from indexes import Record, Store
from retrieval.datatypes import Hit
from retrieval.errors import BadRequest
from retrieval.indexing import stored
from retrieval.search import answers

THUMB = 256  # pixels of the longer side
LONGEST = 300  # letters of a value in a list of hits; an item's own page has all


def name_of(id: str) -> str:
    """An item's id as a part of an address: letters, digits, - and _."""
    return base64.urlsafe_b64encode(id.encode("utf-8", "surrogatepass")).decode().rstrip("=")


def id_of(name: str) -> str:
    """The id again. Raises BadRequest for what is none."""
    try:
        content = base64.b64decode(name + "=" * (-len(name) % 4), altchars=b"-_", validate=True)
        return content.decode("utf-8", "surrogatepass")
    except (ValueError, binascii.Error):
        raise BadRequest(f"{name[:60]} is no item's id: take one from an answer") from None


def id_if_any(name: str) -> str | None:
    """As `id_of`; None for what is no item's name in an address."""
    try:
        return id_of(name)
    except BadRequest:
        return None


class NoSuchItem(BadRequest):
    """The index does not hold it (any more)."""


def record_of(store: Store, name: str) -> Record:
    """The record of an item by its name in an address. Raises NoSuchItem, BadRequest."""
    found = stored.by_id(store, [id_of(name)])
    if not found:
        raise NoSuchItem("no such item in this index: search again")
    return found[0]


def item(shelf: Shelf, store: Store, name: str) -> Hit:
    """An item as an answer. Raises NoSuchItem, BadRequest."""
    return answers.hit(store, 1, record_of(store, name), 0.0)


def as_json(hit: Hit, shelf: Shelf, score: bool = True) -> dict[str, Any]:
    """A hit of a list. Its thumbnail's address changes with its content, so that it may be kept for ever."""
    name = name_of(hit.id)
    fields = {field: _short(value) for field, value in hit.meta.items()}
    return {
        "id": name, "uri": text(hit.uri), "kind": hit.kind, "score": round(hit.score, 4) if score else None,
        "confidence": None if hit.confidence is None else round(hit.confidence, 4),
        "by": None if hit.by is None else why(hit.by),
        "caption": _short(hit.caption), "fields": fields, "width": hit.meta.get("width"),
        "height": hit.meta.get("height"), "folded": 0,
        "thumb": f"/api/items/{name}/thumb?s={THUMB}&index={quote(shelf.name)}{_version(hit)}",
    }  # fmt: skip


def _version(hit: Hit) -> str:
    return f"&v={hashlib.sha256(hit.key.encode()).hexdigest()[:16]}" if hit.key else ""


def _short(value: Any) -> Any:
    if isinstance(value, str):
        whole = text(value)
        return whole if len(whole) <= LONGEST else whole[:LONGEST] + "..."
    return value


def text(value: str) -> str:
    """A text with odd bytes of names, which JSON cannot hold, as \\x.. ."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
