"""Lion (Chen 2023): the sign of a momentum. Half of Adam's memory; wants a third to a tenth of its rate."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


class Lion(torch.optim.Optimizer):
    """m' = b1 m + (1 - b1) g;  w = w - lr (sign(m') + decay w);  m = b2 m + (1 - b2) g."""

    def __init__(
        self, params: Iterable, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:
        """One update of every weight that has a gradient."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._update(weights, group)

    def _update(self, weights: list[Tensor], group: dict) -> None:
        first, second = group["betas"]
        grads = [weight.grad for weight in weights]
        for weight in weights:
            if "exp_avg" not in self.state[weight]:
                self.state[weight]["exp_avg"] = torch.zeros_like(weight)
        momenta = [self.state[weight]["exp_avg"] for weight in weights]
        signs = [m.lerp(g, 1 - first).sign_() for m, g in zip(momenta, grads, strict=True)]
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(weights, signs, alpha=-group["lr"])
        torch._foreach_lerp_(momenta, grads, 1 - second)
