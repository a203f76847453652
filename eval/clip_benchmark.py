"""Results as the package clip_benchmark writes them for zeroshot_retrieval, so that `clip_benchmark build` reads them.

Its recall@k is our hit@k: image_retrieval of pictures for words, text_retrieval of words for pictures. What comes from
open_clip has the names that it gives, so that its rows and ours stand in one table.
"""

import json
from pathlib import Path

from eval import metrics
from eval.measuring import Measured
from indexes import durable
from retrieval.encoders.presets import PRESETS

TASK = "zeroshot_retrieval"
_WAYS = {"image_retrieval": "text_to_image", "text_retrieval": "image_to_text"}


def write(path: Path | str, measured: Measured, dataset: str, language: str = "en") -> None:
    """Create or replace the file, whole or not at all; its folder is made.

    Args:
        path: Of the JSON file; clip_benchmark has {dataset}_{pretrained}_{model}_{language}_zeroshot_retrieval.json.
        measured: What is told.
        dataset: Its name, as clip_benchmark has it: flickr30k, mscoco_captions.
        language: Of the captions.
    """
    model, pretrained = names(measured)
    found = {
        f"{theirs}_recall@{k}": float(measured.each[ours][f"hit@{k}"].mean())
        for k in metrics.KS
        for theirs, ours in _WAYS.items()
    }
    row = {
        "dataset": dataset, "model": model, "pretrained": pretrained, "task": TASK,
        "metrics": found, "language": language,
    }  # fmt: skip
    path = Path(path)
    durable.make_folder(path.absolute().parent)
    durable.write_bytes(path, json.dumps(row).encode())


def names(measured: Measured) -> tuple[str, str]:
    """(model, pretrained): open_clip's own, or the encoder's name and the fingerprint of its weights."""
    name = measured.encoder
    scheme, _, rest = (PRESETS[name].model if name in PRESETS else name).partition(":")
    model, _, tag = rest.partition("/")
    return (model, tag) if scheme == "open_clip" and tag else (name, measured.fingerprint)
