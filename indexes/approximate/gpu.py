"""FAISS on a GPU: k-means for every inverted index, and whole indexes of the kinds that FAISS has a form of there.

What is saved is always an index of the CPU, so a folder that was made on one machine is searched on any other. Where
FAISS has no form for the GPU (4-bit fast-scan, graphs, RaBitQ), rows are added and searched on the CPU. Not run on a
GPU yet: tests put a stand-in in its place.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import faiss

MOST_FETCHED = 2048  # answers to one query: FAISS's limit on a GPU


def is_here() -> bool:
    """Has this FAISS a GPU to work on?"""
    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0


@contextmanager
def clustering(inverted: faiss.IndexIVF) -> Iterator[None]:
    """While it lasts, `train` of this inverted index runs its k-means on the GPU."""
    own = inverted.clustering_index
    flat = moved(faiss.IndexFlat(inverted.d, inverted.metric_type)) or own
    inverted.clustering_index = flat
    try:
        yield
    finally:
        inverted.clustering_index = own


def moved(index: faiss.Index) -> faiss.Index | None:
    """The same index on the GPU; None where FAISS has no form of it there."""
    try:
        return faiss.index_cpu_to_gpu(_resources(), 0, index)
    except RuntimeError:
        return None


def back(index: faiss.Index) -> faiss.Index:
    """The same index on the CPU."""
    return faiss.index_gpu_to_cpu(index)


@functools.cache
def _resources() -> "faiss.StandardGpuResources":
    return faiss.StandardGpuResources()
