"""What a run says by itself while it goes wrong: each thing once, with what to do about it."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

from torch import Tensor

from retrieval.datatypes import Features, Pair
from retrieval.training.config import TrainConfig

EVERY = 10  # steps between two looks at the features
_FORGETS = 0.9  # of the running mean of the loss, a step
_WORTH_SAYING = 0.02  # share of a batch's captions that are another picture's too


def chance(loss: str, batch_size: int) -> float:
    """The loss of an encoder that knows nothing: ln(batch size), and for the sigmoid loss what one answer costs.

    Of the b answers for a picture one is yes: b times the entropy of 1 / b.
    """
    b = batch_size
    return math.log(b) + ((b - 1) * math.log(b / (b - 1)) if loss == "sigmoid" and b > 1 else 0)


class HealthWatch:
    """Looks at the loss and the features of each step; `say` gets a line for what is wrong."""

    def __init__(self, config: TrainConfig, batch_size: int, steps: int, say: Callable[[str], None]) -> None:
        self._config, self._steps, self._say = config, steps, say
        self._chance = chance(config.loss, batch_size)
        self._from = max(20, steps // 4)  # early on towers look collapsed that are not
        self._mean = self._lowest = math.inf
        self._lowest_at = 0
        self._said: set[str] = set()

    def __call__(self, step: int, loss: float, features: Features) -> None:
        """step: how many are done. features: of this process, detached."""
        self._mean = loss if self._mean == math.inf else _FORGETS * self._mean + (1 - _FORGETS) * loss
        if self._mean < self._lowest and step >= 10:
            self._lowest, self._lowest_at = self._mean, step
        self._look_for_rising()
        if step >= self._from and step % EVERY == 0 and not self._said:
            self._look_for_collapse(step, loss, features)
            self._look_for_chance(step)

    def _once(self, what: str, text: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self._say(text)

    def _look_for_rising(self) -> None:
        if self._mean > self._lowest + max(0.2 * self._chance, 0.5):
            self._once(
                "rising",
                f"the loss has risen from {self._lowest:.2f} at step {self._lowest_at} to {self._mean:.2f}: the "
                f"learning rate is too high, lower it with --set lr={self._config.lr / 3:.1g}",
            )

    def _look_for_collapse(self, step: int, loss: float, features: Features) -> None:
        alike = {side: _mean_cosine(part) for side, part in _sides(features)}
        worst = max(alike, key=lambda side: alike[side])
        if loss > 0.98 * self._chance and alike[worst] > 0.9:
            self._once(
                "collapse",
                f"the towers have collapsed at step {step}: {worst} have a mean cosine of {alike[worst]:.2f} and the "
                f"loss is at chance; lower the learning rate, or check that captions belong to their pictures",
            )

    def _look_for_chance(self, step: int) -> None:
        if step >= max(50, self._steps // 5) and self._mean > 0.98 * self._chance:
            self._once(
                "chance",
                f"after {step} steps the loss is still at chance ({self._mean:.2f} of {self._chance:.2f}, what an "
                f"encoder gets that knows nothing): check that captions belong to their pictures, or try --set "
                f"lr={self._config.lr * 3:.1g}",
            )


def _sides(features: Features) -> list[tuple[str, Tensor]]:
    named = [("pictures", features.image), ("captions", features.text)]
    return [(name, rows) for name, rows in named if rows is not None]


def _mean_cosine(rows: Tensor) -> float:
    """The mean cosine between different rows: (|sum|^2 - n) / (n (n - 1))."""
    count = len(rows)
    return (rows.float().sum(0).square().sum().item() - count) / max(1, count * (count - 1))


def repeated_captions(pairs: Sequence[Pair], batch_size: int) -> tuple[float, str]:
    """The expected share of a batch's captions that another picture of it has as well, and the commonest such caption.

    Each picture of a batch shows one of its captions, each as often. The other pictures are taken as drawn one by one,
    which is right but for sets hardly larger than a batch.
    """
    captions: dict[str, set[str]] = {}
    for pair in pairs:
        captions.setdefault(pair.item.id, set()).add(" ".join(pair.caption.lower().split()))
    shown: dict[str, Counter[float]] = {}  # of each caption: how many pictures show it how often
    for texts in captions.values():
        for text in texts:
            shown.setdefault(text, Counter())[1 / len(texts)] += 1
    present = (min(batch_size, len(captions)) - 1) / max(1, len(captions) - 1)
    expected = sum(p * n * _met(p, shares, present) for shares in shown.values() for p, n in shares.items())
    several = {text: sum(shares.values()) for text, shares in shown.items() if sum(shares.values()) > 1}
    return expected / max(1, len(captions)), max(several, key=lambda text: several[text], default="")


def _met(own: float, shares: Counter[float], present: float) -> float:
    """How likely a picture that shows a caption so often meets another that shows it too."""
    return 1 - math.prod((1 - present * p) ** (n - (p == own)) for p, n in shares.items())


def say_repeated(pairs: Sequence[Pair], batch_size: int, say: Callable[[str], None]) -> None:
    """Say so where many captions of a batch are also those of another picture in it: they are taught as wrong."""
    share, commonest = repeated_captions(pairs, batch_size)
    if share >= _WORTH_SAYING:
        say(
            f"in a batch of {batch_size} about {share:.0%} of the captions are also another picture's, as "
            f"`{commonest[:60]}`, and are taught as wrong there: --set duplicates=masked leaves them out"
        )
