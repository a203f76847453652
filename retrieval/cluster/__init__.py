"""Past one machine, on Ray: the indexing line, search over shards, and training. Nothing else knows Ray.

from retrieval import cluster

with cluster.open("photos.shards", "auto", replicas=2) as retriever:
    retriever.search("a dog")
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retrieval.encoders.protocol import Encoder
    from retrieval.retriever import Retriever


@contextmanager
def open(
    folder: Path | str, address: str = "local", replicas: int = 1, encoder: "Encoder | None" = None
) -> "Iterator[Retriever]":
    """Search shards that the machines of a cluster hold.

    Args:
        folder: That of `mmr shards split`, which all machines see under this path.
        address: Of the cluster: "local", "auto" or HOST:PORT.
        replicas: Of each shard.
        encoder: The one to ask with; None is the one that the shards remember.

    Yields:
        The retriever. Where all replicas of a shard are away, its answers are those of the others, and say so.

    Raises:
        BadRequest: Ray is not there, no cluster answers, there is no room, or fewer than one replica is asked.
        StoreError: There are no shards, or one is missing, of another encoder, or at another commit.
        MissingModel: The encoder is not where it was.
    """
    from retrieval.cluster.serving import served
    from retrieval.retriever import Retriever

    with (
        served(folder, address, replicas) as serving,
        Retriever.open(folder, encoder, steady=True, reader=serving.read) as retriever,
    ):
        yield retriever
