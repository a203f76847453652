"""Which evaluation was the best, and when another is not worth waiting for."""

from retrieval.training.config import TrainConfig


class Evaluations:
    """The evaluations of a run, first to last: (step, metrics). Step 0 is what a fine-tune began with."""

    def __init__(self, config: TrainConfig, history: list[tuple[int, dict[str, float]]] | None = None) -> None:
        self._config = config
        self.history = [(int(step), dict(metrics)) for step, metrics in history or []]

    @property
    def before(self) -> dict[str, float] | None:
        """The metrics of the encoder that a fine-tune began with; None for a run from scratch."""
        begun = self._config.encoder and self.history and self.history[0][0] == 0
        return self.history[0][1] if begun else None

    @property
    def step(self) -> int | None:
        """The step of the best evaluation in training, the first of equal ones; None where none has the measure."""
        scored = [(step, self.value(metrics)) for step, metrics in self.history if step > 0]
        scored = [(step, value) for step, value in scored if value is not None]
        return max(scored, key=lambda pair: (pair[1], -pair[0]), default=(None, None))[0]

    def metrics_at(self, step: int | None) -> dict[str, float] | None:
        """The metrics of the evaluation at that step; None where there was none."""
        return next((metrics for at, metrics in self.history if at == step), None)

    def add(self, step: int, metrics: dict[str, float]) -> bool:
        """Take in an evaluation; is it the best so far?"""
        self.history.append((step, metrics))
        return self.step == step

    def is_over(self) -> bool:
        """Have as many evaluations as `patience` brought nothing better?"""
        after = [step for step, _ in self.history if self.step is not None and step > self.step]
        return 0 < self._config.patience <= len(after)

    def value(self, metrics: dict[str, float]) -> float | None:
        """The mean of `measure` over both directions."""
        names = [f"{way}_{self._config.measure}" for way in ("text_to_image", "image_to_text")]
        found = [metrics[name] for name in names if name in metrics]
        return sum(found) / len(found) if found else None
