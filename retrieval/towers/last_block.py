"""The last block of a vision transformer, for the one token that is read: exact, and less work.

A tower that answers with its class token reads nothing of what its last block makes of the others: they are needed as
keys and values alone. Leaving out their queries and their two layers saves ten twelfths of that block.
"""

import functools
from typing import Any

from torch import Tensor, nn


def for_first_token(block: nn.Module) -> None:
    """Have open_clip's ResidualAttentionBlock answer for the first token alone. Its weights stay where they are."""
    block.forward = functools.partial(_first_of, block)


def _first_of(block: Any, tokens: Tensor, attn_mask: Tensor | None = None) -> Tensor:  # open_clip has no types
    """The block's answer for the first of the tokens (b, l, d): (b, 1, d)."""
    seen = block.ln_1(tokens)
    first = tokens[:, :1] + block.ls_1(block.attention(seen[:, :1], seen, seen, attn_mask))
    return first + block.ls_2(block.mlp(block.ln_2(first)))
