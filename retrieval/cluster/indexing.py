"""Indexing over many machines: `mmr index SOURCE --ray ADDRESS`, and the same from Python.

The command lists the source and commits, as on one machine (indexing/update.py); what decodes and encodes are workers.

    with everywhere("auto") as over:
        encoder = load_for_bulk("builtin")
        Retriever.build("photos", "photos.mmr", encoder, line=over(encoder))
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

from retrieval.callbacks import OnMessage, no_message
from retrieval.cluster import connection
from retrieval.cluster.line import Everywhere
from retrieval.cluster.staff import Staff
from retrieval.cluster.workers import Work
from retrieval.datatypes import Item
from retrieval.encoders.engines import AUTO
from retrieval.encoders.protocol import Encoder
from retrieval.indexing.line import Line

_LOOKED_AT = 100  # items, for one whose file can be read


@contextmanager
def everywhere(
    address: str = connection.LOCAL, device: str = "auto", on_message: OnMessage = no_message
) -> Iterator[Callable[..., Line]]:
    """Connect to a cluster, where workers begin to come while the encoder is loaded here.

    Args:
        address: "local", "auto" or HOST:PORT (connection.py).
        device: "auto", "cpu" or "cuda": of the workers.
        on_message: Called with a line for a person: a machine that cannot help.

    Yields:
        `over(encoder, engine="auto", items=())`, which gives the line for that encoder. items: some of those to come:
        a worker that cannot see the first of them that can be read here is an error.

    Raises:
        BadRequest: Ray is not installed, or no cluster answers there, or it has no room; from `over`: a machine has
            another version or another encoder, or does not see the pictures.
    """
    with connection.connected(address) as ray, Staff(ray, device, on_message) as staff:
        yield partial(_over, staff)


def _over(staff: Staff, encoder: Encoder, engine: str = AUTO, items: Iterable[Item] = ()) -> Line:
    staff.load(
        Work(
            encoder=encoder.name, fingerprint=encoder.fingerprint, together=encoder.bulk, engine=engine,
            seen=_readable(items),
        )
    )  # fmt: skip
    return Everywhere(staff, encoder.bulk)


def _readable(items: Iterable[Item]) -> Path | None:
    """The first file among some items that is there, absolute."""
    files = (item.content for item in islice(items, _LOOKED_AT) if isinstance(item.content, Path))
    return next((file.absolute() for file in files if file.is_file()), None)
