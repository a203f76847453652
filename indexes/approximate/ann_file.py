"""The file of an approximate index: what FAISS writes, and after it the reduction's two matrices.

Only a file that is what was written is shown to FAISS, whose reader trusts what it reads.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from indexes import durable
from indexes.approximate.ann import Ann, parse_spec, ready
from indexes.approximate.reduction import Reduction
from indexes.errors import Damaged

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


def read(path: Path, sha256: str, spec: str, dim: int) -> "tuple[faiss.Index, Reduction | None]":
    """The FAISS index and the reduction. Raises Damaged where the file is missing or not what was written."""
    import faiss

    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise Damaged(f"derived/{path.name} is missing: `mmr index` makes it again") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Damaged(f"derived/{path.name} does not match its checksum: `mmr index` makes it again")
    before = faiss.get_deserialization_vector_byte_limit()
    faiss.set_deserialization_vector_byte_limit(max(LEAST_LIMIT, 8 * len(content)))
    try:
        index = ready(faiss.deserialize_index(np.frombuffer(content, np.uint8)))
    finally:
        faiss.set_deserialization_vector_byte_limit(before)  # it is the whole process's
    width, _ = parse_spec(spec, dim)
    if width == dim:
        return index, None
    matrices = np.frombuffer(content[-8 * dim * width :], "<f4").astype(np.float32)
    return index, Reduction(*matrices.reshape(2, dim, width))
