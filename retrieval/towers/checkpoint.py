"""Weights of other hands, read as tensors alone: safetensors, or a PyTorch checkpoint that runs no code."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from retrieval import errors
from retrieval.errors import MissingModel


def tensors_of(file: Path, what: str, way_on: str) -> dict[str, Tensor]:
    """The tensors of a file by their names.

    Args:
        file: safetensors by its ending, else a PyTorch checkpoint; a pickle that would run code is refused.
        what: Whose weights it should hold, for the message.
        way_on: The end of the message, what to type instead.

    Returns:
        Name -> tensor, on the CPU.

    Raises:
        MissingModel: There is no such file, or it is no checkpoint.
    """
    if not file.is_file():
        raise MissingModel(f"no weights file {file}: {way_on}")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        tensors = torch.load(file, "cpu", weights_only=True)
        return tensors.get("state_dict", tensors)
    # torch.load and safetensors raise their own families on what is no checkpoint.
    except Exception as error:
        raise MissingModel(f"{file} is no checkpoint of {what} ({errors.first_line(error)}): {way_on}") from error
