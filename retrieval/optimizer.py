"""How the weights move: AdamW on float32 masters of bfloat16 weights, cosine with warm-up, clipping, EMA."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from retrieval.config import TrainConfig
from retrieval.encoder import DualEncoder


class Optimizer:
    """Owns the float32 truth of every trained weight.

    Weights that run in a lower precision have a master; the others are their own. Call `collect` after each backward,
    then `step` once.
    """

    def __init__(self, model: DualEncoder, config: TrainConfig, steps: int) -> None:
        self._model, self._config, self._steps = model, config, steps
        self._live = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._masters = {
            name: p if p.dtype == torch.float32 or p.dtype == torch.float64
            else p.detach().float().requires_grad_() for name, p in self._live.items()
        }  # fmt: skip
        decayed = [m for name, m in self._masters.items() if _decays(name, m)]
        others = [m for name, m in self._masters.items() if not _decays(name, m)]
        self._adamw = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=config.lr, betas=(0.9, config.beta2), fused=True,
        )  # fmt: skip
        self._average = {n: m.detach().clone() for n, m in self._masters.items()} if config.ema else {}

    def learning_rate(self, step: int) -> float:
        """A linear warm-up from 0, then half a cosine down to 0 at the last step."""
        warm = max(1, round(self._config.warmup * self._steps))
        if step < warm:
            return self._config.lr * (step + 1) / warm
        return self._config.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self._steps - warm)))

    def collect(self) -> None:
        """Add the gradients of the low-precision weights to their masters', in float32."""
        for name, live in self._live.items():
            master = self._masters[name]
            if live is not master and live.grad is not None:
                grad = live.grad.float()
                master.grad = grad if master.grad is None else master.grad + grad
                live.grad = None

    def step(self, step: int) -> None:
        """One update with the gradients collected; then the live weights and the average follow."""
        for group in self._adamw.param_groups:
            group["lr"] = self.learning_rate(step)
        nn.utils.clip_grad_norm_(list(self._masters.values()), self._config.grad_clip)
        self._adamw.step()
        self._adamw.zero_grad(set_to_none=True)
        with torch.no_grad():
            # Below 1 a scale has lost its meaning; above the maximum the loss becomes unstable (CLIP clamps at 100).
            self._model.log_logit_scale.clamp_(0, math.log(self._config.max_logit_scale))
            self._follow()
            if self._average:
                # Early on the average is short, so that it forgets the random start.
                decay = min(self._config.ema, (1 + step) / (10 + step))
                masters = [m.detach() for m in self._masters.values()]
                torch._foreach_lerp_(list(self._average.values()), masters, 1 - decay)

    def _follow(self) -> None:
        for name, live in self._live.items():
            if live is not self._masters[name]:
                live.copy_(self._masters[name])

    # ---------------------------------------------------------------- what is evaluated and saved

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the model has the averaged weights, where there is an average."""
        if not self._average:
            yield
            return
        with torch.no_grad():
            before = {name: live.detach().clone() for name, live in self._live.items()}
            for name, live in self._live.items():
                live.copy_(self._average[name])
            try:
                yield
            finally:
                for name, live in self._live.items():
                    live.copy_(before[name])

    def final_weights(self) -> dict[str, Tensor]:
        """The float32 weights to keep: the average where there is one, else the masters."""
        return {name: m.detach() for name, m in (self._average or self._masters).items()}

    # ---------------------------------------------------------------- checkpoints

    def state(self) -> dict[str, Tensor]:
        """Everything a later process needs to go on bit for bit, as flat tensors."""
        tensors = {f"master/{name}": m.detach() for name, m in self._masters.items()}
        tensors |= {f"average/{name}": m for name, m in self._average.items()}
        for name, m in self._masters.items():
            for key, value in self._adamw.state.get(m, {}).items():
                tensors[f"adamw/{key}/{name}"] = value
        return tensors

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        with torch.no_grad():
            for name, m in self._masters.items():
                m.copy_(tensors[f"master/{name}"])
                if self._average:
                    self._average[name].copy_(tensors[f"average/{name}"])
                self._adamw.state[m] = {
                    key: _laid_out_like(m, tensors[f"adamw/{key}/{name}"])
                    for key in ("step", "exp_avg", "exp_avg_sq")
                    if f"adamw/{key}/{name}" in tensors
                }
            self._follow()


def _laid_out_like(weight: Tensor, tensor: Tensor) -> Tensor:
    """A copy with the strides of the weight: fused AdamW walks memory, and filters are kept channels-last."""
    return torch.empty_like(weight).copy_(tensor) if tensor.shape == weight.shape and tensor.ndim else tensor.clone()


def _decays(name: str, weight: Tensor) -> bool:
    """Matrices and filters decay; biases, norms, scales and what is looked up by position or word do not."""
    return weight.ndim >= 2 and not any(part in name for part in ("words", "places", "embedding"))
