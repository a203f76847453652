"""How deep a weight lies in its tower: what a layer-wise rate and "only the last layers" go by."""

import re

from torch import nn

_FIRST = ("embed", "conv1", "words", "places", "cls_token", "stem", "ln_pre")  # what meets pixels or words
_BLOCK = re.compile(r"^(.*?)\.(\d+)\.")


def depths(tower: nn.Module) -> dict[str, int]:
    """Of each parameter of a tower by name: 0 for what meets the input, 1, 2, ... for its blocks, then the head.

    A block is a numbered part: `body.transformer.resblocks.7`, `body.trunk.stages.2`, `body.5`. What is in none and
    does not meet the input comes after all of them (the last norm, the projection).
    """
    names = [name for name, _ in tower.named_parameters()]
    blocks: dict[tuple[str, int], int] = {}
    for name in names:
        if (block := _block(name)) is not None:
            blocks.setdefault(block, len(blocks) + 1)
    head = len(blocks) + 1
    return {name: _depth(name, blocks, head) for name in names}


def _block(name: str) -> tuple[str, int] | None:
    found = _BLOCK.match(name)
    meets_input = found and any(part in found[1] for part in _FIRST)
    return (found[1], int(found[2])) if found and not meets_input else None


def _depth(name: str, blocks: dict[tuple[str, int], int], head: int) -> int:
    block = _block(name)
    if block is not None:
        return blocks[block]
    return 0 if any(part in name for part in _FIRST) else head
