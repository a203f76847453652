"""CLIP_benchmark's own recall on vectors that are given: in the peers' environment, asked line by line.

    python -m eval.bench.metrics_peers FOLDER    # texts.npy (q, d), images.npy (n, d), owner.npy (q,)

Each line of stdin is BATCH, the rows that it takes at once (its default is 64); one of JSON answers: {"seconds",
"metrics", "most": the process's memory at its highest in MiB}, or {"missing": why}. Scores and pairs are made as its
`evaluate` makes them, and `batchify` and `recall_at_k` are its own.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

KS = (1, 5, 10)


def recalls(texts: np.ndarray, images: np.ndarray, owner: np.ndarray, batch: int) -> dict[str, float]:
    """Its metrics, by its names."""
    import torch
    from clip_benchmark.metrics.zeroshot_retrieval import batchify, recall_at_k

    scores = torch.from_numpy(texts) @ torch.from_numpy(images).t()
    positive = torch.zeros_like(scores, dtype=torch.bool)
    positive[torch.arange(len(scores)), torch.from_numpy(owner)] = True
    ways = {"image_retrieval": (scores, positive), "text_retrieval": (scores.T, positive.T)}
    return {
        f"{name}_recall@{k}": (batchify(recall_at_k, *each, batch, "cpu", k=k) > 0).float().mean().item()
        for k in KS
        for name, each in ways.items()
    }


def main() -> None:
    """Answer until stdin ends."""
    folder = Path(sys.argv[1])
    vectors = [np.load(folder / f"{name}.npy") for name in ("texts", "images", "owner")]
    for line in sys.stdin:
        try:
            started = time.perf_counter()
            found = recalls(*vectors, int(line))  # type: ignore[call-arg]
            answer = {"seconds": time.perf_counter() - started, "metrics": found}
        except Exception as error:  # whatever a peer raises: it has no figure
            answer = {"missing": f"{type(error).__name__}: {error}"}
        answer["most"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
