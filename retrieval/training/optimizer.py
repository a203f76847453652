"""How the weights move: AdamW, Lion or SGD on float32 masters of bfloat16 weights, clipping, layer-wise rates, EMA."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from retrieval.encoders.encoder import DualEncoder
from retrieval.training import schedule
from retrieval.training.config import TrainConfig
from retrieval.training.distributed import sharding
from retrieval.training.trainable import depths, learning
from retrieval.training.weight_decay import decaying

_STATE = ("step", "exp_avg", "exp_avg_sq", "momentum_buffer")  # what the rules remember of a weight


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
        self._rule = _rule(config, self._groups())
        self._average = {n: m.detach().clone() for n, m in self._masters.items()} if config.ema else {}

    def _groups(self) -> list[dict[str, Any]]:
        """Weights of one share of the rate and one decay together. Without layer-wise rates those are two groups."""
        shares, decays = rate_shares(self._model, self._config.layer_decay), decaying(self._model)
        groups: dict[tuple[float, bool], dict[str, Any]] = {}
        for name, master in self._masters.items():
            decay = self._config.weight_decay if name in decays else 0.0
            share = shares.get(name, 1.0)
            start: dict[str, Any] = {"params": [], "weight_decay": decay, "share": share}
            groups.setdefault((share, decay == 0), start)["params"].append(master)
        return list(groups.values())

    def learning_rate(self, step: int) -> float:
        """The learning rate of the last layers at that step (schedule.py)."""
        c = self._config
        return c.lr * schedule.share(c.schedule, step, self._steps, c.warmup, c.cooldown)

    def collect(self) -> None:
        """Add the gradients of the low-precision weights to their masters', in float32."""
        for name, live in self._live.items():
            master = self._masters[name]
            if live is not master and live.grad is not None:
                grad = live.grad.float()
                master.grad = grad if master.grad is None else master.grad + grad
                live.grad = None

    def gradients(self) -> list[Tensor]:
        """The collected gradients that are still to be averaged over the processes, always in the same order.

        Gradients of shares (sharding.py) are left out: they are averaged already.
        """
        grads = [master.grad for master in self._masters.values() if master.grad is not None]
        return [grad for grad in grads if not sharding.is_share(grad)]

    def statistics(self) -> list[Tensor]:
        """The buffers that trained parts learn without a gradient (a BatchNorm's statistics)."""
        return [buffer for _, buffer in self._buffers()]

    def step(self, step: int) -> None:
        """One update with the gradients collected; then the live weights and the average follow."""
        for group in self._rule.param_groups:
            group["lr"] = self.learning_rate(step) * group["share"]
        nn.utils.clip_grad_norm_(list(self._masters.values()), self._config.grad_clip)
        self._rule.step()
        self._rule.zero_grad(set_to_none=True)
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
        """The float32 weights to keep: the average where there is one, else the masters; and the statistics beside."""
        weights = {name: m.detach() for name, m in (self._average or self._masters).items()}
        return weights | {name: buffer.detach() for name, buffer in self._buffers()}

    # ---------------------------------------------------------------- checkpoints

    def state(self) -> dict[str, Tensor]:
        """Everything a later process needs to go on bit for bit, as flat tensors."""
        tensors = {f"master/{name}": m.detach() for name, m in self._masters.items()}
        tensors |= {f"average/{name}": m for name, m in self._average.items()}
        tensors |= {f"buffer/{name}": buffer for name, buffer in self._buffers()}
        for name, m in self._masters.items():
            for key, value in self._rule.state.get(m, {}).items():
                tensors[f"{self._config.optimizer}/{key}/{name}"] = value
        return tensors

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        with torch.no_grad():
            for name, m in self._masters.items():
                m.copy_(sharding.share_like(m, tensors[f"master/{name}"]))
                if self._average:
                    self._average[name].copy_(sharding.share_like(m, tensors[f"average/{name}"]))
                kept = {key: f"{self._config.optimizer}/{key}/{name}" for key in _STATE}
                self._rule.state[m] = {
                    key: _laid_out_like(m, tensors[stored]) for key, stored in kept.items() if stored in tensors
                }
            for name, buffer in self._buffers():
                buffer.copy_(tensors[f"buffer/{name}"])
            self._follow()

    def _buffers(self) -> list[tuple[str, Tensor]]:
        """What is learned without a gradient: the statistics of a BatchNorm beside trained weights."""
        saved, taught = self._model.state_dict(keep_vars=True), learning(self._model)
        return [
            (name, buffer) for name, buffer in self._model.named_buffers()
            if name in saved and name.rpartition(".")[0] in taught
        ]  # fmt: skip


def _rule(config: TrainConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    betas = (config.beta1, config.beta2)
    if config.optimizer == "lion":
        from timm.optim import Lion  # paid for where it is asked for

        return Lion(groups, lr=config.lr, betas=betas)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.beta1)
    return torch.optim.AdamW(groups, lr=config.lr, betas=betas, fused=True)


def rate_shares(model: DualEncoder, layer_decay: float) -> dict[str, float]:
    """The share of the rate that each weight is trained with, by its name; 1 for those that are not named.

    A module whose weights want rates of their own says so in `rates()`, by their names in it.
    """
    shares = _layer_shares(model, layer_decay)
    for path, module in model.named_modules():
        ask = getattr(module, "rates", None)
        for name, share in (ask() if callable(ask) else {}).items():
            shares[f"{path}.{name}"] = shares.get(f"{path}.{name}", 1.0) * share
    return shares


def _layer_shares(model: DualEncoder, decay: float) -> dict[str, float]:
    """The share of the rate of each weight: 1 for a tower's head, `decay` of the next for each layer below."""
    if decay == 1:
        return {}
    shares: dict[str, float] = {}
    for side in ("image_tower", "text_tower"):
        depth = depths(getattr(model, side))
        head = max(depth.values(), default=0)
        shares |= {f"{side}.{name}": decay ** (head - d) for name, d in depth.items()}
    return shares


def _laid_out_like(weight: Tensor, tensor: Tensor) -> Tensor:
    """A copy with the strides of the weight: fused AdamW walks memory, and filters are kept channels-last."""
    alike = tensor.shape == weight.shape and tensor.ndim
    return torch.empty_like(weight).copy_(sharding.share_like(weight, tensor)) if alike else tensor.clone()
