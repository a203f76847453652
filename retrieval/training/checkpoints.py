"""Checkpoints of a run: `checkpoints/step_000200/` with state.safetensors and, as its name says it is whole, no more.

A checkpoint is written under another name and renamed, so a killed run never leaves half of one under its own.
"""

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import safetensors
import safetensors.torch
from torch import Tensor

from indexes import durable, typed
from indexes.typed import Malformed, Meta
from retrieval.errors import BadRequest
from retrieval.settings import from_json
from retrieval.training import run_folder
from retrieval.training.config import TrainConfig

KEEP = 2
BEST = "best.safetensors"


@dataclass(frozen=True, slots=True)
class _Progress:
    """What state.json says of how far a run is; it holds the run's identity too."""

    step: Annotated[int, Meta(ge=0)]
    evaluations: list[tuple[int, dict[str, float]]]


class Checkpoint(NamedTuple):
    """The state of a run after a step, from which it goes on.

    step: how many were done. evaluations: (step, metrics) of each until then. tensors: the optimizer's `state`.
    """

    step: int
    evaluations: list[tuple[int, dict[str, float]]]
    tensors: dict[str, Tensor]


def save(run: Path, step: int, tensors: dict[str, Tensor], manifest: dict[str, Any]) -> None:
    """Write the checkpoint of `step` and remove all but the last KEEP. manifest: what JSON can hold."""
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


def save_best(run: Path, step: int, tensors: dict[str, Tensor]) -> None:
    """Keep the weights of the best evaluation so far beside the checkpoints, in place of those kept before."""
    (run / "checkpoints").mkdir(exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    durable.write_bytes(run / "checkpoints" / BEST, safetensors.torch.save(tensors, {"step": str(step)}))


def load_best(run: Path, step: int) -> dict[str, Tensor] | None:
    """The weights of the best evaluation, or None where those kept are of another step."""
    file = run / "checkpoints" / BEST
    if not file.is_file():
        return None
    with safetensors.safe_open(file, "pt") as opened:
        if opened.metadata().get("step") != str(step):
            return None
    return safetensors.torch.load_file(file)


def all_of(run: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    return sorted(path for path in (run / "checkpoints").glob("step_*") if path.suffix != ".partial")


def load_last(run: Path, identity: dict[str, Any]) -> Checkpoint | None:
    """The last checkpoint of a run, or None.

    Raises BadRequest where it belongs to other data or settings, or is damaged.
    """
    found = all_of(run)
    if not found:
        return None
    try:
        state = typed.read(found[-1] / "state.json", dict[str, Any])
        progress = typed.checked(state, _Progress)
        tensors = safetensors.torch.load_file(found[-1] / "state.safetensors")
    except (Malformed, FileNotFoundError, safetensors.SafetensorError) as error:
        raise BadRequest(
            f"{found[-1]} is damaged ({error}): remove it, then --resume begins with the one before"
        ) from error
    state["settings"] = _as_written_now(state.get("settings"))
    for key, value in identity.items():
        if _placeless(state.get(key)) != _placeless(value):
            raise BadRequest(f"{run} was trained with other {key}: resume with the same, or give another --out")
    return Checkpoint(progress.step, progress.evaluations, tensors)


def _placeless(value: Any) -> Any:
    """Settings without the places of encoders, which may have been moved: their fingerprints are compared beside."""
    return {k: v for k, v in value.items() if k not in run_folder.PLACES} if isinstance(value, dict) else value


def _as_written_now(settings: Any) -> dict[str, Any] | None:
    """Settings as this version writes them (earlier ones had texts for yes and no); None for what it does not know."""
    try:
        return dataclasses.asdict(from_json(TrainConfig, settings))
    except (BadRequest, TypeError):
        return None
