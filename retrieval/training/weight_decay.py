"""Which weights decay: matrices and filters, but for what is looked up by word or position.

A module says by `no_weight_decay() -> set[str]` which of its parameters are spared, as timm's and open_clip's models do
and as our towers do where they have such parameters of their own. Every module is asked, so that a trunk within a model
within a tower is heard as well.
"""

from torch import nn


def decaying(model: nn.Module) -> set[str]:
    """Names of the parameters that decay. Biases, norms and scales have fewer than two dimensions and do not."""
    spared = _spared(model)
    return {name for name, weight in model.named_parameters() if weight.ndim >= 2 and name not in spared}


def _spared(model: nn.Module) -> set[str]:
    """Names of what modules spare, and of every table that is looked up."""
    names = set()
    for path, module in model.named_modules():
        ask = getattr(module, "no_weight_decay", None)
        said = {*(ask() if callable(ask) else ()), *(["weight"] if isinstance(module, nn.Embedding) else [])}
        names |= {f"{path}.{name}" if path else name for name in said}
    return names
