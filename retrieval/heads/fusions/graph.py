"""Knowledge fusion: a row beside its nearest labelled rows.

GATv2           attention over the edges of a list, by scatter
Graph           --fusion graph: each row looks at the rows it was fitted on that are like it, and at their labels

Labels that spread over a graph without a head are in heads/propagation.py.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.heads.blocks import Fusion, Vectors, pooled

_SELF = 0.9999  # a cosine above this is the row itself, or its copy: it would give its own label away
_SHARED = "memory_"


class GATv2(nn.Module):
    """Brody 2022: x_i + sum over edges j -> i of softmax_j(a . leaky_relu(W_l x_i + W_r x_j)) W_r x_j.

    A node without edges comes out as it went in.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """x (n, w), edges int64 (2, e): from, to. Returns (n, w)."""
        return x + self.messages(x, x, edges)

    def messages(self, own: Tensor, others: Tensor, edges: Tensor, nearness: Tensor | None = None) -> Tensor:
        """own (n, w) hear of others (m, w) along edges (2, e): from one of others, to one of own.

        nearness (e,) is added to the scores before the softmax.
        """
        source, goal = edges
        said = self.right(others)
        scores = self.score(F.leaky_relu(self.left(own)[goal] + said[source], 0.2))[:, 0]
        weights = edge_softmax(scores if nearness is None else scores + nearness, goal, len(own))
        return torch.zeros_like(own).index_add(0, goal, weights[:, None] * said[source])


def edge_softmax(scores: Tensor, goal: Tensor, nodes: int) -> Tensor:
    """Scores (e,) to weights (e,) that sum to 1 over the edges into each node."""
    top = torch.full((nodes,), -torch.inf, dtype=scores.dtype).scatter_reduce(0, goal, scores.detach(), "amax")
    raised = (scores - top[goal]).exp()
    return raised / torch.zeros(nodes, dtype=scores.dtype).index_add(0, goal, raised)[goal]


class Graph(Fusion):
    """Modalities side by side, and a GATv2 over the k nearest of the rows it was fitted on, with their labels.

    Nearness is the mean cosine over the modalities that both rows have. Rows of a batch never see each other. With a
    graph of concepts a class is its share in each of their nodes, among the labels and in the answer.
    """

    narrow = 2
    _units: Vectors  # of the nodes, found at the first question: neither they nor the statistics change

    def __init__(self, dims: dict[str, int], outputs: int, width: int = 256, dropout: float = 0.0, k: int = 16) -> None:
        super().__init__(dims, outputs, width, dropout)
        self.k = k
        self.missing = nn.ParameterDict({name: nn.Parameter(torch.zeros(width)) for name in dims})
        self.label = nn.Linear(outputs, width, bias=False)
        self.attend = GATv2(width)
        self.sharp = nn.Parameter(torch.tensor(10.0))  # how much more the nearer ones count at first
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, outputs))
        self.concepts: Tensor | None = None
        self._keep({name: torch.zeros(0, dim) for name, dim in dims.items()},
                   {name: torch.zeros(0, dtype=torch.bool) for name in dims}, torch.zeros(0, outputs))  # fmt: skip

    def remember(self, vectors: Vectors, present: Vectors, target: Tensor) -> None:
        """Take these rows as the graph's nodes; sequences by their mean."""
        parts = {name: pooled(vectors[name], present[name]) for name in self.names}
        labels = F.one_hot(target, self.outputs).float() if target.ndim == 1 else target
        self._keep({n: x for n, (x, _) in parts.items()}, {n: mask for n, (_, mask) in parts.items()}, labels)

    def like(self, tensors: dict[str, Tensor]) -> None:
        """Make room for the nodes and the concepts of a head that was saved."""
        if "concepts" in tensors:
            self.know(tensors["concepts"])
        found = {key: torch.zeros_like(t) for key, t in tensors.items() if key.startswith(_SHARED)}
        for key, tensor in found.items():
            self.register_buffer(key, tensor)
        self._units = {}

    def know(self, concepts: Tensor) -> None:
        """From now on classes are these shares in nodes, (outputs, nodes): concepts.relation."""
        width, nodes = self.label.out_features, concepts.shape[1]
        del self.concepts
        self.register_buffer("concepts", concepts.clone())
        self.label = nn.Linear(nodes, width, bias=False)
        self.classify = nn.Sequential(self.classify[0], nn.Linear(width, nodes))

    def _keep(self, vectors: Vectors, present: Vectors, labels: Tensor) -> None:
        for name in self.names:
            self.register_buffer(f"{_SHARED}vectors_{name}", vectors[name].clone())
            self.register_buffer(f"{_SHARED}present_{name}", present[name].clone())
        self.register_buffer(f"{_SHARED}labels", labels.clone())
        self._units = {}

    def _memory(self) -> tuple[Vectors, Vectors, Tensor]:
        held = dict(self.named_buffers(recurse=False))
        vectors, present = ({name: held[f"{_SHARED}{kind}_{name}"] for name in self.names}
                            for kind in ("vectors", "present"))  # fmt: skip
        return vectors, present, held[f"{_SHARED}labels"]

    def states(self, vectors: Vectors, present: Vectors) -> Tensor:
        """What rows are by themselves: (b, w)."""
        tokens, mask = self.tokens(vectors, present)
        missing = torch.stack([self.missing[name] for name in self.names])
        return F.relu(torch.where(mask[..., None], tokens, missing).sum(1))

    @torch.no_grad()
    def edges(self, vectors: Vectors, present: Vectors) -> tuple[Tensor, Tensor]:
        """int64 (2, e): from a node of the memory to a row, none to a row from itself; and how near they are, (e,)."""
        known, there, _ = self._memory()
        total = shared = torch.zeros(())
        for name in self.names:
            x, mask = pooled(vectors[name], present[name])
            both = (mask[:, None] & there[name]).float()
            if name not in self._units:
                self._units[name] = F.normalize(self.standardize[name](known[name]), dim=1)
            x = F.normalize(self.standardize[name](x), dim=1)
            total, shared = total + both * (x @ self._units[name].T), shared + both
        near = total / shared.clamp(min=1)
        near = near.masked_fill((shared == 0) | (near > _SELF), -torch.inf)
        best = near.topk(min(self.k, near.shape[1]), 1)
        rows, places = (best.values > -torch.inf).nonzero(as_tuple=True)
        return torch.stack([best.indices[rows, places], rows]), best.values[rows, places]

    def forward(self, vectors: Vectors, present: Vectors) -> Tensor:
        """Logits (b, outputs)."""
        own = self.states(vectors, present)
        (source, goal), near = self.edges(vectors, present)
        known, there, labels = self._memory()
        used, source = source.unique(return_inverse=True)
        others = self.states({n: known[n][used] for n in self.names}, {n: there[n][used] for n in self.names})
        classes = labels[used] if self.concepts is None else labels[used] @ self.concepts
        nodes = others + self.label(classes)
        heard = self.attend.messages(own, nodes, torch.stack([source, goal]), self.sharp * near)
        said = self.classify(F.relu(own + heard))
        return said if self.concepts is None else said @ self.concepts.T
