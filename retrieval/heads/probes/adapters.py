"""Few-shot heads beside the words of the classes: Tip-Adapter and -F, CLIP-Adapter, LP++. Chosen on rows held out only.

All of them start from zero-shot: without rows, or with a share of 0, they are it.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.heads.probes.linear import Rows

SCALE = 100.0  # CLIP's own logit scale
ALPHAS = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0)
BETAS = (1.0, 3.0, 5.5, 10.0, 30.0)
EPOCHS, BATCH = 20, 256  # of Tip-Adapter-F and CLIP-Adapter


class Tip(nn.Module):
    """scale x W' + alpha exp(-beta (1 - x K')) V: a cache of rows beside the words (Zhang 2022)."""

    words: Tensor
    values: Tensor
    alpha: Tensor
    beta: Tensor

    def __init__(self, dim: int, classes: int, rows: int) -> None:
        super().__init__()
        self.register_buffer("words", torch.zeros(classes, dim))
        self.register_buffer("values", torch.zeros(rows, classes))
        self.register_buffer("alpha", torch.zeros(()))
        self.register_buffer("beta", torch.ones(()))
        self.keys = nn.Parameter(torch.zeros(rows, dim))

    def forward(self, x: Tensor) -> Tensor:
        """x (b, d) of unit length to logits (b, classes)."""
        near = torch.exp(-self.beta * (1 - x @ self.keys.T))
        return SCALE * x @ self.words.T + self.alpha * near @ self.values

    def set(self, words: Tensor, keys: Tensor, target: Tensor, alpha: float, beta: float) -> "Tip":
        """words (classes, d), keys (rows, d), target (rows,)."""
        with torch.no_grad():
            self.keys.copy_(keys)
        self.words.copy_(words)
        self.values.copy_(F.one_hot(target, len(words)).float())
        self.alpha.fill_(alpha)
        self.beta.fill_(beta)
        return self


@torch.no_grad()
def tip(rows: Rows) -> tuple[Tip, Tip]:
    """alpha and beta from a grid on rows held out; then every row is in the cache."""
    probe, held, target = _cache(rows, rows.vectors, rows.target), *rows.chooser()
    alpha, beta = max(((a, b) for a in ALPHAS for b in BETAS), key=lambda pair: _right(probe, held, target, *pair))
    return _cache(rows, *rows.all(), alpha, beta), _cache(rows, rows.vectors, rows.target, alpha, beta)


def tip_f(rows: Rows) -> tuple[Tip, Tip]:
    """Tip-Adapter whose keys learn; the epoch (0 is Tip-Adapter itself), alpha and beta are chosen on rows held out."""
    start, before = tip(rows)
    alpha, beta = max(1.0, float(start.alpha)), float(start.beta)
    probe = _cache(rows, rows.vectors, rows.target, alpha, beta)
    held, target = rows.chooser()
    best, state = _right(probe, held, target, float(start.alpha), beta), None
    for _ in _epochs(probe, rows.vectors, rows.target, rows.seed):
        for share in ALPHAS:
            right = _right(probe, held, target, share, beta)
            if right > best:
                best, state = right, (share, probe.keys.detach().clone())
    if state is None:
        return start, before
    probe = _cache(rows, state[1], rows.target, state[0], beta)
    return probe, probe


def _cache(rows: Rows, keys: Tensor, target: Tensor, alpha: float = 1.0, beta: float = 5.5) -> Tip:
    probe = Tip(keys.shape[1], rows.classes, len(keys))
    return probe.set(rows.texts(), keys, target, alpha, beta)


@torch.no_grad()
def _right(probe: Tip, held: Tensor, target: Tensor, alpha: float, beta: float) -> float:
    kept = float(probe.alpha), float(probe.beta)
    probe.alpha.fill_(alpha), probe.beta.fill_(beta)
    right = float((probe(held).argmax(1) == target).float().mean())
    probe.alpha.fill_(kept[0]), probe.beta.fill_(kept[1])
    return right


def _epochs(module: nn.Module, vectors: Tensor, target: Tensor, seed: int) -> Iterator[int]:
    """Train, and stop after each epoch to be looked at."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(module.parameters(), 1e-3, eps=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for epoch in range(EPOCHS):
        for part in torch.randperm(len(vectors), generator=generator).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(module(vectors[part]), target[part]).backward()
            optimizer.step()
        schedule.step()
        yield epoch


class ClipAdapter(nn.Module):
    """x' = r MLP(x) + (1 - r) x of unit length, then the words (Gao 2021). r = 0 is zero-shot."""

    words: Tensor
    ratio: Tensor

    def __init__(self, dim: int, classes: int, ratio: float = 0.2) -> None:
        super().__init__()
        self.register_buffer("words", torch.zeros(classes, dim))
        self.register_buffer("ratio", torch.tensor(float(ratio)))
        self.down, self.up = nn.Linear(dim, dim // 4, bias=False), nn.Linear(dim // 4, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (b, d) of unit length to logits (b, classes)."""
        changed = F.relu(self.up(F.relu(self.down(x))))
        return SCALE * F.normalize(self.ratio * changed + (1 - self.ratio) * x, dim=1) @ self.words.T


def clip_adapter(rows: Rows) -> tuple[ClipAdapter, ClipAdapter]:
    """The ratio and the epoch are chosen on rows held out."""
    held, target = rows.chooser()
    best, kept = -1.0, dict[str, Tensor]()
    for ratio in (0.2, 0.5, 0.8):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(rows.seed)
            probe = ClipAdapter(rows.vectors.shape[1], rows.classes, ratio)
        probe.words.copy_(rows.texts())
        for _ in _epochs(probe, rows.vectors, rows.target, rows.seed):
            with torch.no_grad():
                right = float((probe(held).argmax(1) == target).float().mean())
            if right > best:
                best, kept = right, {name: tensor.clone() for name, tensor in probe.state_dict().items()}
    probe.load_state_dict(kept)
    return probe, probe


class LpPlusPlus(nn.Module):
    """Logits x (w_k + alpha_k t_k): a linear probe that mixes in the words, a share for each class (Huang 2024)."""

    words: Tensor
    weight: Tensor
    alpha: Tensor

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("words", torch.zeros(classes, dim))
        self.register_buffer("weight", torch.zeros(classes, dim))
        self.register_buffer("alpha", torch.ones(classes))

    def forward(self, x: Tensor) -> Tensor:
        """x (b, d) to logits (b, classes)."""
        return SCALE * x @ (self.weight + self.alpha[:, None] * self.words).T


def lp_plus_plus(rows: Rows, steps: int = 300) -> tuple[LpPlusPlus, LpPlusPlus]:
    """Block descent; steps are as long as the Lipschitz constants allow: the loss never rises, nothing is tuned."""
    parts = (rows.all(), (rows.vectors, rows.target))
    after, before = (_descended(*part, rows.texts(), steps) for part in parts)
    return after, before


def _descended(vectors: Tensor, target: Tensor, words: Tensor, steps: int) -> LpPlusPlus:
    probe = LpPlusPlus(vectors.shape[1], len(words))
    probe.words.copy_(words)
    truth = F.one_hot(target, len(words)).float()
    means = truth.T @ vectors / truth.sum(0).clamp(min=1)[:, None]
    probe.weight.copy_(means - means.mean(0))
    for _ in range(steps):
        descend(probe, vectors, truth)
    return probe


@torch.no_grad()
def descend(probe: LpPlusPlus, vectors: Tensor, truth: Tensor) -> float:
    """One step of the weights, then one of the shares; the loss before them.

    The Hessian of a softmax is at most 1/2, so 2 n / (scale^2 lambda_max) is a step that cannot overshoot.
    """
    count, with_words = len(vectors), vectors @ probe.words.T
    logits = probe(vectors)
    step = 2 * count / (SCALE**2 * torch.linalg.matrix_norm(vectors.T @ vectors, 2))
    probe.weight -= step * SCALE * (logits.softmax(1) - truth).T @ vectors / count
    wrong = probe(vectors).softmax(1) - truth
    step = 2 * count / (SCALE**2 * with_words.pow(2).amax(1).sum().clamp(min=1e-6))
    probe.alpha -= step * SCALE * (wrong * with_words).sum(0) / count
    return float(-(logits.log_softmax(1) * truth).sum(1).mean())
