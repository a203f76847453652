"""An encoder between two: the weighted mean of the weights before and after a fine-tune (WiSE-FT, Wortsman 2022).

It keeps most of what was learned, and loses less of what was known before.
"""

from pathlib import Path

import torch

from retrieval.encoders.encoder import DualEncoder
from retrieval.encoders.protocol import KeptTokenizer
from retrieval.errors import BadRequest


@torch.no_grad()
def blend(before: DualEncoder, after: DualEncoder, share: float) -> DualEncoder:
    """Mix the weights of an encoder before and after its fine-tune.

    Args:
        before: The encoder that the fine-tune started from. It is changed in place.
        after: What the fine-tune made of it.
        share: That of `after`, from 0 to 1; the ends give either encoder exactly.

    Returns:
        `before`, with (1 - share) of its own weights and `share` of the other's.

    Raises:
        BadRequest: The two are not of one build, or `share` is outside 0..1.

    Examples:
        >>> blend(load_encoder("small"), load_encoder("runs/mine"), 0.5).save("runs/half")
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


def _words(encoder: DualEncoder) -> bytes:
    return encoder.tokenize.content() if isinstance(encoder.tokenize, KeptTokenizer) else b""


def require_new(out: Path | str) -> Path:
    """A folder to write into. Raises BadRequest where something is there already."""
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadRequest(f"{out} is there already: give another --out")
    return out
