"""HeadConfig: every knob of a head on one page, checked once."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from retrieval.config import assign
from retrieval.errors import BadRequest

BALANCES = ("none", "weights", "sampling")


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """How a head is fitted. Change it with `dataclasses.replace`, or `settings` (`--set width=128`)."""

    fusion: str = "concat"
    inputs: str = ""  # image,text,words,patches and your own; "": all but patches that the encoder and the rows have
    head: str = "fusion"  # trains the fusion; others stand on one vector: knn, ridge, tip, ... (one_vector.py)
    width: int = 256
    dropout: float = 0.2
    weights: str = ""  # of --fusion weighted, as 0.7,0.3: fixed instead of learned
    concepts: str = ""  # a csv of class,concept and concept,concept for --fusion graph (concepts.py)
    shared: int = 0  # numbers that the tasks of one fit share (several --label); 0: one task
    task_weights: str = ""  # of several --label, as 1,0.5: fixed instead of learned

    epochs: int = 15
    batch_size: int = 128
    lr: float = 1e-2  # of most; a transformer takes shorter steps (Fusion.pace)
    weight_decay: float = 0.3
    modality_dropout: float = 0.0  # chance that a row loses a modality in a step; never its last one
    balance: str = "none"  # "weights": rare classes count for more; "sampling": they are drawn as often as the others
    focal: float = 0.0  # gamma of the focal loss; 0 is cross-entropy
    label_smoothing: float = 0.0

    validation: float = 0.15  # share of the training rows that says when to stop, and how sure to be
    refit: bool = True  # on all training rows, for as long as validation said
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self.balance in BALANCES, "balance", f"must be one of {', '.join(BALANCES)}")
        _require(self.shared >= 0, "shared", "must not be negative")
        for name in ("width", "epochs", "batch_size", "lr"):
            _require(getattr(self, name) > 0, name, "must be above 0")
        _require(self.width % 8 == 0, "width", "must be a multiple of 8")
        for name in ("dropout", "modality_dropout", "label_smoothing", "validation"):
            _require(0 <= getattr(self, name) < 1, name, "must be at least 0 and below 1")
        for name in ("focal", "weight_decay"):
            _require(getattr(self, name) >= 0, name, "must not be negative")
        _ = self.fixed_weights, self.fixed_task_weights

    @property
    def fixed_weights(self) -> list[float] | None:
        """The numbers of `weights`. Raises BadRequest where they are none."""
        return _numbers("weights", self.weights)

    @property
    def fixed_task_weights(self) -> list[float] | None:
        """The numbers of `task_weights`. Raises BadRequest where they are none."""
        return _numbers("task_weights", self.task_weights)

    def settings(self, assignments: Iterable[str]) -> "HeadConfig":
        """A copy with `field=value` texts applied. Raises BadRequest, with the nearest name for an unknown field."""
        return dataclasses.replace(self, **assign(self, assignments))


def _numbers(name: str, text: str) -> list[float] | None:
    try:
        return [float(part) for part in text.split(",")] if text else None
    except ValueError:
        raise BadRequest(f"`{text}` are no weights: write, say, --set {name}=0.7,0.3") from None


def _require(holds: bool, name: str, what: str) -> None:
    if not holds:
        raise BadRequest(f"{name} {what}: change it with --set {name}=...")
