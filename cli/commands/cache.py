"""`mmr models`: the pretrained encoders, what of them is on this machine, and making room."""

import json
from collections.abc import Iterable
from datetime import datetime

from cli.output import show
from retrieval import cache
from retrieval.encoders import presets
from retrieval.encoders.presets import DEFAULT, PRESETS, Preset
from retrieval.errors import BadRequest


def models(as_json: bool, days: float | None = None) -> int:
    """List the presets and the cache; the exit code. days: as given for --prune."""
    if days is not None:
        raise BadRequest("--days says what --prune removes: add --prune")
    here, exported = presets.downloads(), cache.encoders()
    if as_json:
        _as_json(here, exported)
        return show.OK
    show.out(f"{'name':<14}{'download':>9}  {'here':<6}{'COCO recall@1':<16}{'licence':<24}model")
    show.out(f"{'':<14}{'MB':>9}  {'':<6}{'words / picture':<16}")
    for preset in PRESETS.values():
        show.out(_row(preset, preset.name in here))
    if exported:
        show.out(f"\nexported for queries, in {cache.folder(cache.QUERY)} ({_size(exported)}):")
        show.out(f"{'last used':<18}{'MB':>6}  encoder")
        for one in exported:
            show.out(f"{_day(one.used):<18}{_megabytes(one.size):>6}  {one.name}")
        show.note("`mmr models --prune` removes those that were not used for 30 days; what is needed is made again")
    return show.OK


def _row(preset: Preset, here: bool) -> str:
    recall = f"{preset.text_to_image:.1f} / {preset.image_to_text:.1f}"
    mark = " (default of mmr index)" if preset.name == DEFAULT else ""
    present = "yes" if here else "no"
    return f"{preset.name:<14}{preset.megabytes:>9}  {present:<6}{recall:<16}{preset.license:<24}{preset.model}{mark}"


def _as_json(here: dict[str, int], exported: Iterable[cache.Cached]) -> None:
    for preset in PRESETS.values():
        told = {
            "preset": preset.name, "model": preset.model, "licence": preset.license, "megabytes": preset.megabytes,
            "text_to_image": preset.text_to_image, "image_to_text": preset.image_to_text,
            "bytes_here": here.get(preset.name, 0), "default": preset.name == DEFAULT,
        }  # fmt: skip
        show.out(json.dumps(told))
    for one in exported:
        used = datetime.fromtimestamp(one.used).astimezone().isoformat(timespec="seconds")
        show.out(json.dumps({"exported": one.name, "path": str(one.path), "bytes": one.size, "used": used}))


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
