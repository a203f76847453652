"""What a run leaves to read: log.jsonl, events for TensorBoard where asked for, and the picture of its curves."""

import dataclasses
import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexes import distribution
from retrieval.errors import BadRequest

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

EVERY = 10  # steps between two lines


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is after a step, as `on_step` is told and log.jsonl keeps it.

    Attributes:
        step: How many steps are done; 0 is the encoder that a fine-tune begins with.
        steps: Those of the whole run.
        loss: Of this step's batch; None at step 0, where there was none.
        chance: The loss of an encoder that knows nothing, to compare with.
        lr: The learning rate of this step.
        logit_scale: What cosines are multiplied by.
        pairs_per_second: The mean since the run began, or went on.
        metrics: What `on_eval` measured after this step; None where it was not asked.
        share: The share of the work that is done, 0..1: of the pixels of the whole run, because later steps may see
            larger crops.
    """

    step: int
    steps: int
    loss: float | None
    chance: float
    lr: float
    logit_scale: float
    pairs_per_second: float
    metrics: dict[str, float] | None = None
    share: float | None = None


class Journal:
    """Writes a line every EVERY steps and at every evaluation. Resumed at `done`, later lines are dropped.

    run: the folder; None writes nothing.
    """

    def __init__(self, run: Path | None, done: int, tensorboard: bool = False) -> None:
        self._file: Path | None = None
        self._events: SummaryWriter | None = None
        if run is None:
            return
        self._file = run / "log.jsonl"
        kept = [line for line in read(run) if line["step"] <= done]
        self._file.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")
        if tensorboard:
            self._events = _events_of(run, done)

    def write(self, progress: Progress) -> None:
        """A line, if it is time for one."""
        if self._file is None:
            return
        if progress.metrics or progress.step % EVERY == 0 or progress.step == progress.steps:
            line = {key: value for key, value in dataclasses.asdict(progress).items() if value is not None}
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            if self._events:
                _write_events(self._events, line)

    def close(self) -> None:
        """Let go of the files."""
        if self._events:
            self._events.close()


def _events_of(run: Path, done: int) -> "SummaryWriter":
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run / "tensorboard"), purge_step=done + 1)


def _write_events(events: "SummaryWriter", line: dict[str, Any]) -> None:
    values = {key: line[key] for key in ("loss", "lr", "logit_scale", "pairs_per_second") if key in line}
    for name, value in {**values, **line.get("metrics", {})}.items():
        events.add_scalar(name, value, line["step"])


def read(run: Path | str) -> list[dict[str, Any]]:
    """The lines of a run's log.jsonl, whole ones only, each with its step; none where there is no such file."""
    file = Path(run) / "log.jsonl"
    lines = file.read_text("utf-8", "replace").splitlines() if file.is_file() else []
    return [line for line in map(_line, lines) if "step" in line]


def _line(text: str) -> dict[str, Any]:
    """What a line says; nothing, where it is half of one or was written over."""
    try:
        found = json.loads(text)  # a loss may be NaN, which is no JSON elsewhere
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def require_tensorboard() -> None:
    """Raise BadRequest where it is not installed."""
    if find_spec("tensorboard") is None:
        raise BadRequest(f"tensorboard is not installed: {distribution.install('tensorboard')}")
