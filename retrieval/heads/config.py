"""HeadConfig: every knob of a head on one page, checked once."""

from collections.abc import Iterable
from dataclasses import dataclass

from retrieval.errors import BadRequest
from retrieval.settings import assign, check, setting

BALANCES = ("none", "weights", "sampling")


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """How a head is fitted. It cannot be changed: `dataclasses.replace` and `settings` give another one.

    Raises:
        BadRequest: A setting is out of its bounds.

    Examples:
        >>> HeadConfig(fusion="attention", width=128)
        >>> HeadConfig().settings(["epochs=30", "balance=weights"])  # as --set on the command line
    """

    fusion: str = setting("concat", "how modalities come together", takes="a modality or a fusion", group="What it is")
    inputs: str = setting(
        "", "nothing: all but patches that the encoder and the rows have", takes="image,text,words,patches and your own"
    )
    head: str = setting(
        "fusion", "fusion is trained; others stand on one vector", takes="fusion, mlp, knn, ridge, logistic, tip, ..."
    )
    width: int = setting(256, "numbers within it", multiple=8, above=0)
    dropout: float = setting(0.2, "of features", least=0, below=1)
    weights: str = setting("", "of --fusion weighted: fixed instead of learned", takes="numbers, as 0.7,0.3")
    concepts: str = setting("", "for --fusion graph", takes="a csv of class,concept and concept,concept")
    shared: int = setting(0, "numbers that the tasks of one fit share (several --label); 0: one task", least=0)
    task_weights: str = setting("", "of several --label: fixed instead of learned", takes="numbers, as 1,0.5")

    epochs: int = setting(15, "passes over the rows", above=0, group="How it learns")
    batch_size: int = setting(128, "rows in a step", above=0)
    lr: float = setting(1e-2, "of most; a transformer takes shorter steps", above=0)
    weight_decay: float = setting(0.3, "of matrices", least=0)
    modality_dropout: float = setting(
        0.0, "chance that a row loses a modality in a step; never its last one", least=0, below=1
    )
    balance: str = setting(
        "none",
        "weights: rare classes count for more; sampling: they are drawn as often as the others",
        choices=BALANCES,
    )
    focal: float = setting(0.0, "gamma of the focal loss; 0 is cross-entropy", least=0)
    label_smoothing: float = setting(0.0, "of cross-entropy", least=0, below=1)

    validation: float = setting(
        0.15, "share of the training rows that says when to stop, and how sure to be", least=0, below=1,
        group="When it is done",
    )  # fmt: skip
    refit: bool = setting(True, "on all training rows, for as long as validation said")
    seed: int = setting(0, "of everything that is drawn")

    def __post_init__(self) -> None:
        check(self)
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
        return assign(self, assignments)


def _numbers(name: str, text: str) -> list[float] | None:
    try:
        return [float(part) for part in text.split(",")] if text else None
    except ValueError:
        raise BadRequest(f"`{text}` are no weights: write, say, --set {name}=0.7,0.3") from None
