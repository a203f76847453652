"""Listing: files of many pictures, tars above all, read by the machines of a cluster beside each other.

A tar of ten thousand pictures takes a second to be listed, so a hundred million pictures take hours where one process
does it, before the first of them is encoded.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from retrieval.cluster import places
from retrieval.sources.uri import Each

AHEAD = 2  # files for each core that are read before they are asked for


def beside(ray: ModuleType) -> Each:
    """How parts of a source are read (Options.each): in their order, so many of them at once as there are cores."""
    task = ray.remote(num_cpus=0, max_retries=-1, scheduling_strategy="SPREAD")(_listed)
    cores = sum(int(has.get("CPU", 0)) for has in places.machines(ray).values())
    here = Path.cwd()

    def each(read: Callable[..., Iterable[Any]], parts: Iterable[tuple[Any, ...]]) -> Iterator[Iterable[Any]]:
        waiting: deque[Any] = deque()
        for part in parts:
            waiting.append(task.remote(here, read, part))
            if len(waiting) > AHEAD * max(1, cores):
                yield _had(ray, waiting.popleft())
        while waiting:
            yield _had(ray, waiting.popleft())

    return each


def _listed(here: Path, read: Callable[..., Iterable[Any]], part: tuple[Any, ...]) -> list[Any]:
    """In a worker: what is read of a part. here: the folder that paths are relative to."""
    if here.is_dir():
        os.chdir(here)
    return list(read(*part))


def _had(ray: ModuleType, ref: Any) -> Iterable[Any]:
    """What a worker read. Raises what it raised."""
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        raise getattr(error, "cause", None) or error from None
