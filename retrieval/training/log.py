"""What a run leaves to read: log.jsonl, events for TensorBoard where asked for, and the picture of its curves."""

import dataclasses
import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from retrieval.errors import BadRequest

EVERY = 10  # steps between two lines


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is. chance: the loss of an encoder that knows nothing. metrics: of an evaluation. share: of the
    pixels of the whole run that were seen, because later steps may see larger crops.

    Step 0 is the encoder that a fine-tune begins with; its loss is not known.
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
        self._file, self._events = None if run is None else run / "log.jsonl", None
        if run is None:
            return
        kept = [line for line in read(run) if line["step"] <= done]
        self._file.write_text("".join(json.dumps(line) + "\n" for line in kept))
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(run / "tensorboard"), purge_step=done + 1)

    def write(self, progress: Progress) -> None:
        """A line, if it is time for one."""
        if self._file is None:
            return
        if progress.metrics or progress.step % EVERY == 0 or progress.step == progress.steps:
            line = {key: value for key, value in dataclasses.asdict(progress).items() if value is not None}
            with self._file.open("a") as file:
                file.write(json.dumps(line) + "\n")
            if self._events:
                self._write_events(line)

    def _write_events(self, line: dict) -> None:
        values = {key: line[key] for key in ("loss", "lr", "logit_scale", "pairs_per_second") if key in line}
        for name, value in {**values, **line.get("metrics", {})}.items():
            self._events.add_scalar(name, value, line["step"])

    def close(self) -> None:
        """Let go of the files."""
        if self._events:
            self._events.close()


def read(run: Path | str) -> list[dict]:
    """The lines of a run's log.jsonl, whole ones only; none where there is no such file."""
    file = Path(run) / "log.jsonl"
    lines = file.read_text().splitlines() if file.is_file() else []
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def require_tensorboard() -> None:
    """Raise BadRequest where it is not installed."""
    if find_spec("tensorboard") is None:
        raise BadRequest("tensorboard is not installed: pip install 'mmr[tensorboard]'")
