"""Which pictures meet in a step: decided by (seed, step) alone, so that a run resumes anywhere."""

import hashlib

import numpy as np


class Order:
    """order(step) -> the positions of a step's pictures, each once.

    Plainly: consecutive pieces of a new permutation each pass; a remainder is left out. weights (n,): how often each is
    drawn beside the others; unequal ones draw every batch anew. near (n, k): pictures like each, -1 where there are
    fewer; `share` of a batch is then chosen among those near to the rest of it, so that its negatives are hard.
    """

    def __init__(
        self, seed: int, pictures: int, batch_size: int, weights: np.ndarray | None = None,
        near: np.ndarray | None = None, share: float = 0.0,
    ) -> None:  # fmt: skip
        self._seed, self._pictures, self._near = seed, pictures, near
        self._hard = round(share * batch_size) if near is not None else 0
        self._plain = batch_size - self._hard
        self._chances: np.ndarray | None = None
        if weights is not None and (weights != weights[0]).any():
            self._chances = weights / weights.sum()

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the weights and the neighbors; with others the pictures come in another order."""
        digest = hashlib.sha256()
        for array in (self._chances, self._near):
            digest.update(b"" if array is None else np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]

    def __call__(self, step: int) -> np.ndarray:
        """The pictures of that step, (b,)."""
        items = self._some(step)
        return items if not self._hard else self._with_neighbors(items, step)

    def _some(self, step: int) -> np.ndarray:
        if self._chances is not None:
            rng = np.random.default_rng([self._seed, 1, step])
            return rng.choice(self._pictures, self._plain, replace=False, p=self._chances)
        number, piece = divmod(step, self._pictures // self._plain)
        order = np.random.default_rng([self._seed, 1, number]).permutation(self._pictures)
        return order[piece * self._plain : (piece + 1) * self._plain]

    def _with_neighbors(self, items: np.ndarray, step: int) -> np.ndarray:
        """And for one after another of them a picture near to it, until the batch is full; others where none is."""
        assert self._near is not None  # without it no picture is chosen for being near
        rng = np.random.default_rng([self._seed, 4, step])
        chosen = {int(i): None for i in items}  # a set in order
        for i in rng.permutation(items):
            free = [int(j) for j in self._near[i] if j >= 0 and int(j) not in chosen]
            if free and len(chosen) < len(items) + self._hard:
                chosen[free[rng.integers(len(free))]] = None
        for i in rng.permutation(self._pictures):
            if len(chosen) == len(items) + self._hard:
                break
            chosen.setdefault(int(i))
        return np.array(list(chosen))
