"""What serve.py is beside: a plain server on FastAPI and FAISS Flat, and the index that clip-retrieval reads.

    python -m eval.bench.serve_peers FOLDER PORT         # serve FOLDER's vectors
    python -m eval.bench.serve_peers FOLDER --indices    # write what clip-retrieval reads

It is written as tutorials write it: the model and the index are loaded once, a query is encoded and searched for in the
thread pool, and answered as JSON. It encodes as ours does, by ONNX Runtime.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from retrieval import Retriever

K = 10


def serve(folder: Path, port: int) -> None:
    """Until it is ended."""
    import faiss
    import uvicorn
    from fastapi import FastAPI

    retriever = Retriever.open(folder / "index")
    paths = (folder / "paths").read_text("utf-8").split("\n")
    vectors = np.load(folder / "vectors.npy")
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    app = FastAPI()

    @app.get("/search")
    def search(q: str) -> list[dict[str, Any]]:
        scores, rows = index.search(retriever.encoder.encode_texts([q]), K)
        return [
            {"id": int(row), "path": paths[row], "score": float(score)}
            for row, score in zip(rows[0], scores[0], strict=True)
        ]

    uvicorn.run(app, port=port, log_level="warning", access_log=False)


def write_indices(folder: Path) -> None:
    """A FAISS index and its metadata, as `clip-retrieval index` leaves them, and the list of indices."""
    import faiss
    import pyarrow as pa
    from pyarrow import parquet

    vectors = np.load(folder / "vectors.npy")
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    place = folder / "clip-retrieval"
    (place / "metadata").mkdir(parents=True)
    faiss.write_index(index, str(place / "image.index"))
    captions = (folder / "paths").read_text("utf-8").split("\n")
    parquet.write_table(pa.table({"caption": captions}), place / "metadata" / "metadata_0.parquet")
    (folder / "indices.json").write_text(json.dumps({"bench": str(place)}), "utf-8")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    if sys.argv[2] == "--indices":
        write_indices(place)
    else:
        serve(place, int(sys.argv[2]))
