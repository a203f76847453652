"""Weights between two encoders: what a fine-tune learned without all that it forgot (WiSE-FT, Wortsman 2022)."""

from pathlib import Path

import torch

from retrieval.encoders.encoder import DualEncoder
from retrieval.encoders.tokenizers.captions import CaptionTokenizer
from retrieval.errors import BadRequest


@torch.no_grad()
def blend(before: DualEncoder, after: DualEncoder, share: float) -> DualEncoder:
    """`before` changed to (1 - share) of its own weights and `share` of `after`'s; 0 and 1 give either exactly.

    Raises BadRequest where the two are not of one build, or share is outside 0..1.
    """
    if not 0 <= share <= 1:
        raise BadRequest(f"a share of {share} is outside 0..1: give --at 0.5")
    _require_alike(before, after)
    mine, others = before.state_dict(), after.state_dict()
    for name, tensor in mine.items():
        if share == 1 or (share > 0 and not tensor.is_floating_point()):
            tensor.copy_(others[name])
        elif share > 0:
            mixed = torch.lerp(tensor.double(), others[name].double(), share)
            tensor.copy_(torch.where(tensor == others[name], tensor, mixed.to(tensor.dtype)))  # -inf stays what it is
    before.forget_fingerprint()
    return before


def _require_alike(before: DualEncoder, after: DualEncoder) -> None:
    same_build = before.spec == after.spec and before.dim == after.dim and before.preprocess == after.preprocess
    shapes = [{name: tensor.shape for name, tensor in encoder.state_dict().items()} for encoder in (before, after)]
    if not same_build or shapes[0] != shapes[1] or _words(before) != _words(after):
        raise BadRequest(
            f"{before.name} and {after.name} are not one encoder before and after a fine-tune: give the --model of the "
            "training, and its run"
        )


def _words(encoder: DualEncoder) -> str:
    return encoder.tokenize.to_json() if isinstance(encoder.tokenize, CaptionTokenizer) else ""


def require_new(out: Path | str) -> Path:
    """A folder to write into. Raises BadRequest where something is there already."""
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadRequest(f"{out} is there already: give another --out")
    return out
