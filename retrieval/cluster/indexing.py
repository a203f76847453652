"""Indexing over many machines: `mmr index SOURCE --ray ADDRESS`, and the same from Python.

The command puts the list of the source together and commits, as on one machine (indexing/update.py); what reads tars,
decodes and encodes are workers.

    with machines_of("auto") as machines:
        encoder = load_for_bulk("builtin")
        line = machines.line(encoder)
        Retriever.build(machines.reading("webdataset:tars"), "photos.mmr", encoder, line=line)
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import ModuleType

from retrieval.callbacks import OnMessage, no_message
from retrieval.cluster import connection, listing
from retrieval.cluster.line import Everywhere
from retrieval.cluster.staff import Staff
from retrieval.cluster.workers import Work
from retrieval.datatypes import Item
from retrieval.encoders.engines import AUTO
from retrieval.encoders.protocol import Encoder
from retrieval.indexing.line import Line
from retrieval.sources.registry import Uri, parse_uri
from retrieval.sources.within import InTable, InTar

_LOOKED_AT = 100  # items, for one whose file can be read


class Machines:
    """Those of a cluster, for indexing.

    Args:
        ray: The module, connected.
        staff: The workers.
    """

    def __init__(self, ray: ModuleType, staff: Staff) -> None:
        self._ray, self._staff = ray, staff

    def line(
        self, encoder: Encoder, engine: str = AUTO, uri: Uri | None = None, items: Iterable[Item] = (),
        ocr: bool = False,
    ) -> Line:  # fmt: skip
        """The line for an encoder.

        Args:
            encoder: As it was loaded here.
            engine: As `bulk.load_for_bulk` takes it.
            uri: The source.
            items: Some of it: a worker that cannot see the first whose file can be read here is an error.
            ocr: The text in the pictures is read: a machine that cannot is an error.

        Returns:
            What `Retriever.build` takes.

        Raises:
            BadRequest: A machine has another version or another encoder, or does not see the pictures.
        """
        seen = next((file.absolute() for file in _files(items, uri.root if uri else None) if file.is_file()), None)
        work = Work(
            encoder=encoder.name, fingerprint=encoder.fingerprint, together=encoder.bulk, engine=engine, seen=seen,
            ocr=ocr,
        )  # fmt: skip
        self._staff.load(work)
        return Everywhere(self._staff, encoder.bulk)

    def reading(self, uri: str | Uri) -> Uri:
        """The source, whose tars and folders of shards are read by the machines beside each other."""
        uri = parse_uri(uri)
        return replace(uri, options=replace(uri.options, each=listing.beside(self._ray)))


@contextmanager
def machines_of(
    address: str = connection.LOCAL, device: str = "auto", on_message: OnMessage = no_message
) -> Iterator[Machines]:
    """Connect to a cluster, where workers begin to come while the encoder is loaded here.

    Args:
        address: "local", "auto" or HOST:PORT (connection.py).
        device: "auto", "cpu" or "cuda": of the workers.
        on_message: Called with a line for a person: a machine that cannot help.

    Yields:
        Its machines.

    Raises:
        BadRequest: Ray is not installed, or no cluster answers there, or it has no room.
    """
    with connection.connected(address) as ray, Staff(ray, device, on_message) as staff:
        yield Machines(ray, staff)


def _files(items: Iterable[Item], root: Path | None) -> Iterator[Path]:
    """Where the pictures of some items lie: in files of their own, or within others."""
    for item in islice(items, _LOOKED_AT):
        if isinstance(item.content, Path):
            yield item.content
        elif root is not None and isinstance(item.within, InTar | InTable):
            yield root / item.within.file
