"""What others have published of such work, beside what the model says of it."""

from collections.abc import Callable
from dataclasses import dataclass

from eval.scale import machines
from eval.scale.machines import CODES, GB, STEADY, TB
from eval.scale.plan import hours

LAION = 5.85e9  # pairs of LAION-5B
_IMG2DATASET = "img2dataset, README"
_LAION_EXAMPLE = "img2dataset, dataset_examples/laion5B.md"
_CLIP_RETRIEVAL = "clip-retrieval, README"
_BILLIONS = "R. Beaumont, Semantic search at billions scale, 2022"
_VIBE = "VIBE, laion-clip-512-normalized, FAISS IVF-PQ fast scan"


@dataclass(frozen=True, slots=True)
class Anchor:
    """A published figure. within: by which share the model may be off; inputs: what it took of the source."""

    what: str
    source: str
    published: float
    unit: str
    model: Callable[[], float]
    within: float
    inputs: str

    @property
    def off(self) -> float:
        """By which share the model is off; above 0 it says more."""
        return self.model() / self.published - 1


def widest(pictures: float, memory: float) -> int:
    """The most bytes of product quantisation that autofaiss takes, with eight for the id, in so much memory."""
    return next(width for width in (256, 128, 64, 48, 32, 24, 16, 8, 4) if (width + 8) * pictures <= memory)


def vibe(probes: int) -> float:
    """Queries a second of one core at so many of 1,024 lists of 1,000,000 x 512."""
    return 1 / (STEADY + 1e6 * machines.codes(512) * probes / 1024 / CODES)


ANCHORS = (
    Anchor("100M URLs fetched by one machine", _IMG2DATASET, 20, "h", lambda: hours(100e6, 1350), 0.05,
           "1,350 pictures/s"),
    Anchor("190M fetched by one machine", _IMG2DATASET, 41, "h", lambda: hours(190e6, 1350), 0.10,
           "1,350 pictures/s"),
    Anchor("LAION-5B fetched by 10 machines", _LAION_EXAMPLE, 168, "h", lambda: hours(5.86e9, 10 * 1000), 0.05,
           "1,000 pictures/s each"),
    Anchor("its 2.3 billion English pictures at 384 pixels", _LAION_EXAMPLE, 84.8, "TiB",
           lambda: 2.3135e9 * machines.PICTURE / 2**40, 0.10, "bytes a picture of the whole"),
    Anchor("100M pictures and texts encoded, one RTX 3080, ViT-B/32", _CLIP_RETRIEVAL, 20, "h",
           lambda: hours(100e6, 1500), 0.10, "1,500 pairs/s"),
    Anchor("8 A100, ViT-L/14", machines.BENCHMARKS, 2500, "pictures/s", lambda: 8 * 312, 0.02, "312 pictures/s of one"),
    Anchor("8 A100, ViT-B/16: decoding is the limit", machines.BENCHMARKS, 7000, "pictures/s",
           lambda: min(8 * 1100, machines.ENCODERS["ViT-B/32"].pictures), 0.02,
           "1,100 of one; the node's limit with B/32"),
    Anchor("image vectors of LAION-5B, 768 x float16", _BILLIONS, 9, "TB", lambda: LAION * 768 * 2 / TB, 0.02, "-"),
    Anchor("its index within 800 GB", _BILLIONS, 800, "GB", lambda: LAION * (widest(LAION, 800 * GB) + 8) / GB, 0.02,
           "autofaiss's rule"),
    Anchor("100 billion x 1024 x float16", "turbopuffer ANN v3, 2026-01", 200, "TiB",
           lambda: 1e11 * 1024 * 2 / 2**40, 0.10, "-"),
    Anchor("one core, recall 0.99 on text, 256 lists", _VIBE, 291, "queries/s", lambda: vibe(256), 0.05,
           "the points of 32 and 64 lists"),
)  # fmt: skip
