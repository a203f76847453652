"""`mmr models`: pretrained encoders and towers, what of them is on this machine, and making room."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from cli.output import show
from retrieval import cache
from retrieval.encoders import presets
from retrieval.encoders.default import HOW
from retrieval.encoders.known import Known, known
from retrieval.encoders.presets import DEFAULT, PRESETS
from retrieval.errors import BadRequest


def models(as_json: bool, days: float | None = None) -> int:
    """List what can be named, and the cache; the exit code. days: as given for --prune."""
    if days is not None:
        raise BadRequest("--days says what --prune removes: add --prune")
    rows, exported = known(), cache.encoders()
    if as_json:
        _as_json(rows, exported)
        return show.OK
    show.out(f"{'name':<28}{'MB':>5}  {'here':<6}{'figure':<31}{'licence':<23}{'languages':<11}what is named")
    for row in rows:
        show.out(_row(row))
    show.note("figures: (p) published by others, (m) measured here; R@k: by words / by a picture")
    show.note("a name is for --model; what has a = in it is for `mmr train --set`, as are text_tower=sentence:FOLDER,")
    show.note("image_tower=timm:NAME and open_clip:NAME/TAG on either side")
    show.note(f"where none is named, `mmr index` takes {HOW}")
    for row in rows:
        if not row.here and row.kind != "preset":
            show.note(f"{row.name} is had by {row.had}")
    if exported:
        show.out(f"\nexported for queries, in {cache.folder(cache.QUERY)} ({_size(exported)}):")
        show.out(f"{'last used':<18}{'MB':>6}  encoder")
        for one in exported:
            show.out(f"{_day(one.used):<18}{_megabytes(one.size):>6}  {one.name}")
        show.note("`mmr models --prune` removes those that were not used for 30 days; what is needed is made again")
    return show.OK


def _row(row: Known) -> str:
    figure = f"{row.figure} ({'m' if row.measured else 'p'})" if row.figure else "-"
    reads = ", ".join(row.languages) if len(row.languages) < 3 else str(len(row.languages))
    return (
        f"{row.name:<28}{row.megabytes:>5}  {'yes' if row.here else 'no':<6}{figure:<31}{row.license:<23}"
        f"{reads or '-':<11}{row.typed}"
    )


def _as_json(rows: Iterable[Known], exported: Iterable[cache.Cached]) -> None:
    here = presets.downloads()
    for row in rows:
        told: dict[str, Any] = _preset(row.name, here) if row.kind == "preset" else {row.kind: row.name}
        told |= {
            "typed": told.get("model", row.typed), "licence": row.license, "megabytes": row.megabytes,
            "languages": row.languages, "here": row.here, "had": row.had, "figure": row.figure or None,
            "measured": row.measured,
        }  # fmt: skip
        show.out(json.dumps(told))
    for one in exported:
        used = datetime.fromtimestamp(one.used).astimezone().isoformat(timespec="seconds")
        show.out(json.dumps({"exported": one.name, "path": str(one.path), "bytes": one.size, "used": used}))


def _preset(name: str, here: dict[str, int]) -> dict[str, Any]:
    preset = PRESETS[name]
    return {
        "preset": name, "model": preset.model, "text_to_image": preset.text_to_image,
        "image_to_text": preset.image_to_text, "bytes_here": here.get(name, 0), "default": name == DEFAULT,
    }  # fmt: skip


def prune(days: float) -> int:
    """Remove from the cache what was not used for that many days; the exit code."""
    removed = cache.prune(days)
    for one in removed:
        if one.name is not None:
            show.out(f"{_day(one.used):<18}{_megabytes(one.size):>6}  {one.name}")
    left = f"{_size(cache.encoders())} of exported encoders left"
    show.out(f"{len(removed)} removed from {cache.folder()} ({_size(removed)}), {left}")
    return show.OK


def _day(when: float) -> str:
    return datetime.fromtimestamp(when).astimezone().strftime("%Y-%m-%d %H:%M")


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.1f}"


def _size(parts: Iterable[cache.Cached]) -> str:
    return f"{_megabytes(sum(one.size for one in parts))} MB"
