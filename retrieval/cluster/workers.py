"""Workers: processes of a cluster that make rows of pictures, by the line of one process (indexing/line.py)."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from indexes import distribution
from retrieval.datatypes import Item
from retrieval.encoders import bulk
from retrieval.encoders.engines import AUTO
from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest, RetrievalError
from retrieval.images import load
from retrieval.indexing.line import Here, Made


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What every worker must know.

    encoder, engine: as `bulk.load_for_bulk` takes them. fingerprint: of that encoder, where it was loaded first.
    together: pictures that processors encode together, there as here, so that the vectors are the same to the last bit.
    seen: a picture that can be read where the command runs. version: of this project. here: the working folder of the
    command, from which paths are seen. ocr: the text in the pictures is read.
    """

    encoder: str
    fingerprint: str
    together: int
    engine: str = AUTO
    seen: Path | None = None
    ocr: bool = False
    version: str = field(default_factory=distribution.version)
    here: Path = field(default_factory=Path.cwd)


class Worker:
    """Loads the encoder once, and then makes rows of one block of items after the other."""

    def load(self, work: Work, device: str) -> None:
        """Make ready. device: "cpu" or "cuda", of which it sees its own alone.

        Raises:
            BadRequest: This machine has another version of this project, another encoder under that name, or does not
                see the pictures.
        """
        if distribution.version() != work.version:
            raise BadRequest(
                f"{_machine()} has {distribution.NAME} {distribution.version()}, not {work.version}: "
                f"run `pip install {distribution.NAME}=={work.version}` there"
            )
        if work.here.is_dir():
            os.chdir(work.here)
        if work.seen and not os.access(work.seen, os.R_OK):
            raise BadRequest(
                f"{_machine()} cannot see {work.seen}: put the pictures where all machines see them under one path"
            )
        self._encoder = _loaded(work, device)
        if work.ocr:
            _require_reader()
        # One core is what a worker has most often: one picture is read at a time.
        self._line = Here(self._encoder, batch_size=work.together if device == "cpu" else None, readers=1)

    def make(self, items: Sequence[Item], ocr: bool = False) -> Made:
        """The rows of a block, in its order. ocr: with the text in the pictures."""
        parts = [part._replace(records=list(part.records)) for part in self._line(items, ocr)]
        rows = [part.vectors for part in parts if len(part.vectors)]
        return Made(
            [name for part in parts for name in part.ids],
            np.concatenate(rows) if rows else np.empty((0, self._encoder.dim), np.float32),
            [record for part in parts for record in part.records],
            [one for part in parts for one in part.skipped],
            [one for part in parts for one in part.unread],
        )


def _require_reader() -> None:
    """Raise BadRequest where this machine has not what reads the text in pictures."""
    try:
        load.require_reader()
    except RetrievalError as error:
        raise BadRequest(f"on {_machine()}: {error}") from error


def _loaded(work: Work, device: str) -> Encoder:
    """The encoder. Raises BadRequest where this machine has none, or another one, under that name."""
    try:
        encoder = bulk.load_for_bulk(work.encoder, device, engine=work.engine)
    except RetrievalError as error:
        raise BadRequest(f"on {_machine()}: {error}") from error
    if encoder.fingerprint != work.fingerprint:
        raise BadRequest(
            f"{_machine()} has another encoder as {work.encoder}: copy the run there, or put it where all see it"
        )
    return encoder


def _machine() -> str:
    return socket.gethostname()
