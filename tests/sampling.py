"""Which of many points a quick run tries."""

from collections.abc import Hashable, Sequence


def spread(kinds: Sequence[Hashable], every: int) -> list[int]:
    """Places of `kinds`, in order: the first of each kind, every `every`-th, and the last. 1: all of them."""
    firsts = {kind: place for place, kind in reversed(list(enumerate(kinds)))}
    return sorted({*firsts.values(), *range(0, len(kinds), every), *range(len(kinds))[-1:]})
