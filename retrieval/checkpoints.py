"""Checkpoints of a run: `checkpoints/step_000200/` with state.safetensors and, as its name says it is whole, no more.

A checkpoint is written under another name and renamed, so a killed run never leaves half of one under its own.
"""

import json
import shutil
from pathlib import Path

import safetensors.torch
from torch import Tensor

from indexes import durable
from retrieval.errors import BadRequest

KEEP = 2


def save(run: Path, step: int, tensors: dict[str, Tensor], manifest: dict) -> None:
    """Write the checkpoint of `step` and remove all but the last KEEP."""
    folder = run / "checkpoints" / f"step_{step:06d}"
    beside = folder.with_suffix(".partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        durable.write_bytes(beside / "state.safetensors", safetensors.torch.save(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        ))  # fmt: skip
        durable.write_bytes(beside / "state.json", json.dumps({"step": step, **manifest}).encode())
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    durable.sync_folder(folder.parent)
    for old in all_of(run)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)


def all_of(run: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    return sorted(path for path in (run / "checkpoints").glob("step_*") if path.suffix != ".partial")


def load_last(run: Path, manifest: dict) -> tuple[int, dict[str, Tensor]] | None:
    """(step, tensors) of the last checkpoint, or None. Raises BadRequest where it belongs to other data or settings."""
    found = all_of(run)
    if not found:
        return None
    state = json.loads((found[-1] / "state.json").read_text())
    for key, value in manifest.items():
        if state.get(key) != value:
            raise BadRequest(f"{run} was trained with other {key}: resume with the same, or give another --out")
    return state["step"], safetensors.torch.load_file(found[-1] / "state.safetensors")
