"""Several labels from one body: a fusion without its last layer shared by tasks, each with a layer of its own."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from retrieval.heads.blocks import Criterion, Fusion, Learner, Vectors


class MultiTask(Learner):
    """One fusion, several tasks: name -> outputs.

    weights: of the tasks' losses, fixed; None learns them, exp(-s) loss + s for each (Kendall 2018).
    """

    def __init__(self, body: Fusion, tasks: Mapping[str, int], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if weights is not None and len(weights) != len(tasks):
            raise ValueError(f"one weight for each of {', '.join(tasks)}")
        self.body, self.fixed, self.pace = body, weights, body.pace
        self.heads = nn.ModuleDict({name: nn.Linear(body.outputs, outputs) for name, outputs in tasks.items()})
        if weights is None:
            self.doubt = nn.Parameter(torch.zeros(len(tasks)))

    def forward(self, vectors: Vectors, present: Vectors) -> dict[str, Tensor]:
        """Logits (b, outputs) of each task."""
        shared = torch.relu(self.body(vectors, present))  # once for all
        return {name: head(shared) for name, head in self.heads.items()}

    def parts(self) -> dict[str, "TaskPart"]:
        """Each task as a module of its own, on the shared body."""
        return {name: TaskPart(self.body, head) for name, head in self.heads.items()}

    def joint_loss(
        self, vectors: Vectors, present: Vectors, targets: Mapping[str, Tensor], criteria: Mapping[str, Criterion]
    ) -> Tensor:
        """The weighed sum of the tasks' losses. A target of -1 is missing: that row teaches that task nothing."""
        logits, losses = self(vectors, present), []
        for name in self.heads:
            target = targets[name]
            known = target >= 0 if not target.is_floating_point() else target.isfinite().all(1)
            losses.append(criteria[name](logits[name][known], target[known]) if known.any() else logits[name].sum() * 0)
        every = torch.stack(losses)
        if self.fixed is not None:
            return (every * torch.tensor(self.fixed)).sum()
        return ((-self.doubt).exp() * every + self.doubt).sum()


class TaskPart(nn.Module):
    """One task of several: the shared body, and the task's own layer."""

    def __init__(self, body: Fusion, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, head

    def like(self, tensors: dict[str, Tensor]) -> None:
        """Make room for tensors whose shape the config does not tell, as `Fusion.like` does."""
        self.body.like({name.removeprefix("body."): t for name, t in tensors.items() if name.startswith("body.")})

    def forward(self, vectors: Vectors, present: Vectors) -> Tensor:
        """Logits (b, outputs)."""
        return self.head(torch.relu(self.body(vectors, present)))
