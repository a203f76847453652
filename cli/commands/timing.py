"""`mmr eval speed`: how fast an encoder and an index are on this machine."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from cli.output import show
from eval import speed
from retrieval.encoders import bulk
from retrieval.errors import BadRequest


def run(words: Sequence[str], as_json: bool, device: str, engine: str) -> int:
    """Measure and show; the exit code. words: ENCODER, and perhaps INDEX. Raises BadRequest, StoreError."""
    if len(words) not in (1, 2):
        raise BadRequest("speed is measured of one encoder, and one index: mmr eval speed ENCODER [INDEX]")
    encoder = bulk.load_for_bulk(words[0], device, show.note, engine)
    found = speed.of_encoder(encoder, show.note)
    if len(words) == 2:
        found += [speed.first_query(Path(words[1])), *speed.of_index(encoder, Path(words[1]))]
    if as_json:
        show.out("\n".join(json.dumps(asdict(one)) for one in found))
    else:
        show.out(str(speed.table(f"{encoder.name} on this machine", found)))
    return show.OK
