"""Which weights are trained: all, all but a tower (LiT), the last layers, or LoRA's.

The rest stays as it is, to the bit, also where it runs in a lower precision.
"""

import re

import torch
from torch import Tensor, nn

from retrieval.encoders.encoder import DualEncoder
from retrieval.training import lora
from retrieval.training.config import TrainConfig

SIDES = {"image": ("image_tower",), "text": ("text_tower",), "both": ("image_tower", "text_tower"), "": ()}


def choose(model: DualEncoder, config: TrainConfig) -> None:
    """Freeze what the configuration says and add LoRA's matrices. Raises BadRequest where LoRA cannot be."""
    frozen = SIDES[config.freeze]
    for side in frozen:
        tower = getattr(model, side)
        depth = depths(tower)
        first_trained = max(depth.values(), default=0) + 1 - config.unfreeze
        for name, parameter in tower.named_parameters():
            taught = depth[name] >= first_trained or name.startswith(tower.new_parts)
            parameter.requires_grad_(taught and not name.startswith(tower.still_parts))
    if config.lora:
        for side in SIDES["both"]:
            if side not in frozen:
                lora.add(getattr(model, side), config.lora, config.lora_alpha)


def keeps_languages(model: DualEncoder) -> bool:
    """Is the body of the text tower frozen? One that is trained may learn to read others than it did."""
    return not any(parameter.requires_grad for parameter in model.text_tower.get_submodule("body").parameters())


def train_mode(model: nn.Module) -> None:
    """Training mode, but for the parts of which nothing is trained: they drop nothing and keep their statistics."""
    model.train()  # a tower may keep parts of itself still
    _hold_frozen(model)


def _hold_frozen(module: nn.Module) -> None:
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        module.eval()
        return
    for child in module.children():
        _hold_frozen(child)


class Frozen:
    """The weights that are not trained, and the statistics beside them, as they were."""

    def __init__(self, model: nn.Module) -> None:
        taught = learning(model)
        self._kept: dict[str, Tensor] = {}
        for name, tensor in model.state_dict(keep_vars=True).items():
            learned = not isinstance(tensor, nn.Parameter) and name.rpartition(".")[0] in taught
            if not tensor.requires_grad and not learned:
                self._kept[name] = tensor.detach().clone()

    @torch.no_grad()
    def restore(self, model: nn.Module) -> None:
        """Put them back: a lower precision rounded them."""
        now = model.state_dict()
        for name, tensor in self._kept.items():
            now[name].copy_(tensor)


def learning(model: nn.Module) -> set[str]:
    """Names of the parts that have a trained weight of their own: their buffers (statistics, say) are learned too."""
    return {
        name for name, module in model.named_modules() if any(p.requires_grad for p in module.parameters(recurse=False))
    }


_FIRST = ("embed", "conv1", "bn1", "words", "places", "cls_token", "stem", "ln_pre")  # what meets pixels or words
_BLOCK = re.compile(r"^(.*?)\.(\d+)\.")


def depths(tower: nn.Module) -> dict[str, int]:
    """The depth of each parameter of a tower, by its name.

    0 is for what meets the input, 1, 2, ... for its blocks, and the last for the head.

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
