"""The file of an approximate index: what FAISS writes, and after it the reduction's two matrices.

Only a file that is what was written is shown to FAISS. What FAISS makes of it names no row beyond those it was made of.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from indexes import durable
from indexes.approximate.ann import Ann, parse_spec, ready
from indexes.approximate.recorded import Recorded
from indexes.approximate.reduction import Reduction
from indexes.errors import Damaged, StoreError

if TYPE_CHECKING:
    import faiss

LEAST_LIMIT = 1 << 26  # bytes FAISS may allocate for one array of a small file


def write(ann: Ann, path: Path) -> str:
    """Write it durably; its SHA-256."""
    import faiss

    digest = hashlib.sha256()
    known: Any = faiss  # its stubs do not know this writer

    def pour(file: BinaryIO) -> None:
        def take(data: bytes) -> int:
            digest.update(data)
            return file.write(data)

        writer = known.PyCallbackIOWriter(take)
        faiss.write_index(ann.index, writer)
        for matrix in (ann.reduction.for_queries, ann.reduction.for_rows) if ann.reduction else ():
            take(matrix.astype("<f4").tobytes())

    durable.write_file(path, pour)
    return digest.hexdigest()


def read(path: Path, recorded: Recorded, dim: int) -> "tuple[faiss.Index, Reduction | None]":
    """The FAISS index and the reduction. Raises Damaged where the file is missing, or not what the record says."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise Damaged(f"derived/{path.name} is missing: `mmr index` makes it again") from None
    if hashlib.sha256(content).hexdigest() != recorded.sha256:
        raise Damaged(f"derived/{path.name} does not match its checksum: `mmr index` makes it again")
    try:  # a store that was sent may record the checksum of anything
        return _parsed(content, recorded, dim)
    except (RuntimeError, ValueError, StoreError) as error:  # the first is what FAISS's exceptions become
        reason = str(error).strip().splitlines()[-1][:80] if str(error) else type(error).__name__
        raise Damaged(f"derived/{path.name} cannot be read ({reason}): `mmr index` makes it again") from error


def _parsed(content: bytes, recorded: Recorded, dim: int) -> "tuple[faiss.Index, Reduction | None]":
    width, _ = parse_spec(recorded.spec, dim)
    index = ready(_deserialized(content))
    if index.d != width:
        raise ValueError(f"rows of {index.d} numbers, not {width}")
    for ids in _ids(index):
        # Its ids are read from the mapped rows without another look (rerank.py).
        if len(ids) and not (recorded.rows_from <= ids.min() and ids.max() < recorded.rows_below):
            raise ValueError("it names rows that it cannot know")
    if width == dim:
        return index, None
    matrices = np.frombuffer(content[-8 * dim * width :], "<f4").astype(np.float32)
    return index, Reduction(*matrices.reshape(2, dim, width))


def _deserialized(content: bytes) -> "faiss.Index":
    import faiss

    before = faiss.get_deserialization_vector_byte_limit()
    faiss.set_deserialization_vector_byte_limit(max(LEAST_LIMIT, 8 * len(content)))
    try:
        return faiss.deserialize_index(np.frombuffer(content, np.uint8))
    finally:
        faiss.set_deserialization_vector_byte_limit(before)  # it is the whole process's


def _ids(index: "faiss.Index") -> Iterator[np.ndarray]:
    """The rows that an index names, in parts. Raises ValueError for a kind that `ann.build` does not make."""
    import faiss

    if isinstance(index, faiss.IndexIDMap):  # IndexIDMap2 is one
        yield faiss.vector_to_array(index.id_map)
        return
    inverted = faiss.try_extract_index_ivf(index)
    lists = None if inverted is None else inverted.invlists
    if lists is None:
        raise ValueError(f"a {type(index).__name__}")
    for number in range(lists.nlist):
        if size := lists.list_size(number):
            yield faiss.rev_swig_ptr(lists.get_ids(number), size)
