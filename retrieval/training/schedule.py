"""The learning rate of a step, as a share of the configured one: a warm-up, then one of SCHEDULES.

To add a schedule, write `f(done, cooldown) -> share` of what is done after the warm-up, from 0 to below 1, and name it
in SCHEDULES.
"""

import math
from collections.abc import Callable


def _cosine(done: float, cooldown: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done))


def _constant(done: float, cooldown: float) -> float:
    return 1.0


def _cooldown(done: float, cooldown: float) -> float:
    """Constant, then straight down to 0 over the last `cooldown` of the run: how long it is can be decided late."""
    return min(1.0, (1 - done) / cooldown)


SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "cosine": _cosine, "constant": _constant, "cooldown": _cooldown,
}  # fmt: skip


def share(name: str, step: int, steps: int, warmup: float, cooldown: float = 0.2) -> float:
    """The share of the configured rate at `step` of `steps`. warmup, cooldown: shares of the steps.

    The warm-up is straight, from the first step's 1 / its length to 1.
    """
    warm = max(1, round(warmup * steps))
    if step < warm:
        return (step + 1) / warm
    after = max(1, steps - warm)
    return SCHEDULES[name]((step - warm) / after, cooldown * steps / after)
