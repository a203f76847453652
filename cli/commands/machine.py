"""`mmr info --machine`: what this machine computes with, and how fast each engine was for encoders on it."""

import json
from typing import Any

from cli.output import show
from indexes import cpu
from retrieval.encoders import engines
from retrieval.encoders.engines import Tried


def run(as_json: bool) -> int:
    """Show it; the exit code."""
    tried = list(engines.on_this_machine())
    if as_json:
        every = [_as_json(name, one) for name, one in tried]
        show.out(json.dumps({"processor": cpu.processor(), "cores": cpu.cores(), "encoders": every}))
        return show.OK
    show.out(f"{'processor':<14}{cpu.processor()}")
    show.out(f"{'cores':<14}{cpu.cores()}")
    for name, one in tried:
        show.out(f"{'encoder':<14}{name}: {_in_words(name, one)}")
    if not tried:
        show.note("no encoder was tried here yet: `mmr index` does")
    return show.OK


def _as_json(name: str, tried: Tried) -> dict[str, Any]:
    return {"encoder": name, "engine": engines.best_for(name, tried), "milliseconds": tried.milliseconds}


def _in_words(name: str, tried: Tried) -> str:
    by_time = sorted(tried.milliseconds.items(), key=lambda item: item[1])
    times = ", ".join(f"{engine} {taken:.0f} ms" for engine, taken in by_time)
    gate = tried.gate
    seen = f"; int8 has {gate.overlap:.0%} of float32's neighbors, cosine {gate.cosine:.4f}" if gate else ""
    return f"{engines.best_for(name, tried)} (a picture on one core: {times}{seen})"
