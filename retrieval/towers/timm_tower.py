"""Any image model of timm as a tower: ResNet-50 (`image_tower=resnet50`), or `image_tower=timm:NAME`."""

import difflib
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval import errors, hub
from retrieval.errors import BadRequest, MissingModel, RetrievalError
from retrieval.towers import each_place, norms
from retrieval.towers.checkpoint import tensors_of
from retrieval.towers.layers import RowDropout, dtype_of, unusual
from retrieval.towers.projections import last_layer
from retrieval.towers.tower import ImageTower

Weights = dict[str, Tensor]
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")


class TimmTower(ImageTower):
    """A timm model without its classifier, its pooled features projected: (b, c, s, s) to (b, dim).

    spec: {"name"; "size": of the pictures, for models that take one size: others are resized; "channels"; "norm":
    "group" for random weights, "still" for pretrained ones (norms.py); "activation" and "projection" of the last
    layer}. pretrained: "no", "yes" for timm's own weights, a local file, or the tensors by timm's names. mean, std: how
    its pictures are to be normalized, None where it does not matter. Raises BadRequest for an unknown name,
    MissingModel for weights that cannot be had.
    """

    body: nn.Module
    has_features = True
    more_features = 0  # beside timm's own, which a tower of this kind adds in `features`

    def __init__(
        self, dim: int, name: str, size: int = 224, channels: int = 3, norm: str = "", dropout: float = 0.0,
        activation: str = "gelu", projection: str = "linear", pretrained: str | Weights = "no",
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = norm or ("group" if pretrained == "no" else "still")
        self.body, facts = timm_model(name, size, channels, pretrained)
        if self.norm == "group":
            norms.use_group_norm(self.body)
        self.size = size if facts.get("fixed_input_size") else None
        if pretrained != "no" and channels == 3:
            self.mean, self.std = tuple(facts["mean"]), tuple(facts["std"])
        self.spec = {
            "type": "timm", "name": name, "size": size, "norm": self.norm, "dropout": dropout,
            **unusual(
                channels=(channels, 3), activation=(activation, "gelu"), projection=(projection, "linear"),
            ),
        }  # fmt: skip
        self.dropout = RowDropout(dropout)
        self.width = _features(self.body, size, channels) + self.more_features
        self.project = last_layer(self.width, dim, projection, activation, rooted=True)

    def train(self, mode: bool = True) -> Self:
        """As of any module, but for pretrained batch statistics, which stay."""
        super().train(mode)
        norms.hold_statistics(self.body)
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels (b, c, s, s), normalized. Returns (b, dim)."""
        return self.head(self.features(pixels))

    def features(self, pixels: Tensor) -> Tensor:
        """Pooled features (b, width) in the head's type. pixels: as for `forward`."""
        return self.body(fit(pixels, self.size).to(dtype_of(self.body))).to(dtype_of(self.project))

    def place_features(self, pixels: Tensor) -> Tensor:
        """As of any image tower: timm's pooled features of each place (each_place.py)."""
        return each_place.of_timm(self.body, fit(pixels, self.size).to(dtype_of(self.body))).to(dtype_of(self.project))

    def head(self, features: Tensor) -> Tensor:
        """Features (b, width) to (b, dim)."""
        return self.project(self.dropout(features))


def fit(pixels: Tensor, size: int | None) -> Tensor:
    """Pictures resized to the one size that a tower takes, as smaller crops in training must be. None: it takes any."""
    if size is None or pixels.shape[-1] == size:
        return pixels
    return F.interpolate(pixels, (size, size), mode="bilinear", antialias=True, align_corners=False)


@torch.no_grad()
def with_fixed_padding(tower: nn.Module, pixels: Tensor) -> nn.Module:
    """The tower, changed, for pictures of that size alone: TensorFlow's padding is found now, not with each of them.

    ONNX Runtime then makes one step of a padding and its convolution. pixels (b, c, s, s): what the tower takes.
    """
    convolutions = [module for module in tower.modules() if type(module).__module__ == "timm.layers.conv2d_same"]
    sizes: dict[nn.Module, torch.Size] = {}
    hooks = [
        module.register_forward_pre_hook(lambda module, given: sizes.update({module: given[0].shape[-2:]}))
        for module in convolutions
    ]
    if hooks:
        tower(pixels)
    for hook in hooks:
        hook.remove()
    for module in list(tower.modules()):
        for name, child in module.named_children():
            if child in sizes and isinstance(child, nn.Conv2d):
                setattr(module, name, _Padded(child, sizes[child]))
    return tower


class _Padded(nn.Module):
    """A convolution of TensorFlow's padding, with the padding that pictures of one size need."""

    def __init__(self, convolution: nn.Conv2d, size: torch.Size) -> None:
        super().__init__()
        from timm.layers.padding import pad_same_arg

        of = convolution
        self.convolution = convolution
        self.padding = pad_same_arg(list(size), list(of.kernel_size), list(of.stride), list(of.dilation))

    def forward(self, x: Tensor) -> Tensor:
        """x (b, c, h, w)"""
        of = self.convolution
        return F.conv2d(F.pad(x, self.padding), of.weight, of.bias, of.stride, 0, of.dilation, of.groups)


@torch.no_grad()
def _features(body: nn.Module, size: int, channels: int) -> int:
    """How many numbers a model gives: timm's own count of them leaves out what some models put behind it."""
    was_training = body.training
    width = body.eval()(torch.zeros(1, channels, size, size)).shape[1]
    body.train(was_training)
    return width


def timm_model(
    name: str, size: int, channels: int, pretrained: str | Weights = "no"
) -> tuple[nn.Module, dict[str, Any]]:
    """A timm model that gives pooled features, and what timm knows of it: mean, std, fixed_input_size."""
    import timm

    _check_name(name)
    facts = (timm.get_pretrained_cfg(name) or timm.models.PretrainedCfg()).to_dict()
    more: dict[str, Any] = {"img_size": size} if facts.get("fixed_input_size") else {}
    overlay = _overlay(name, facts, pretrained)
    try:
        model = timm.create_model(
            name,
            pretrained=pretrained != "no",
            pretrained_cfg_overlay=overlay,
            num_classes=0,
            in_chans=channels,
            **more,
        )
    # timm's builders raise assertion, key, shape and hub errors of their own.
    except Exception as error:
        raise _not_built(name, size, pretrained, error) from error
    # With the weights of a local file in it. Past nn.Module, whose annotation knows tensors and modules alone.
    vars(model).update(pretrained_cfg={}, default_cfg={})
    return model, facts


def _check_name(name: str) -> None:
    import timm

    base, _, tag = name.partition(".")
    if not timm.is_model(base):
        near = difflib.get_close_matches(base, timm.list_models(), 3)
        raise BadRequest(f"timm has no model `{base}`: {errors.did_you_mean(near, 'see timm.list_models()')}")
    tags = timm.list_pretrained(f"{base}.*")
    if tag and name not in tags:
        near = difflib.get_close_matches(name, tags, 3, 0) or tags
        raise BadRequest(
            f"{base} has no weights `{tag}`: {errors.did_you_mean(near, 'leave out what follows the point')}"
        )


def _overlay(name: str, facts: dict[str, Any], pretrained: str | Weights) -> dict[str, Any]:
    """What timm is told beyond its own: weights that are here. Raises MissingModel where there are none."""
    if isinstance(pretrained, dict):
        return {"state_dict": pretrained}
    if pretrained == "no":
        return {}
    if pretrained != "yes":
        way_on = "check --set pretrained=FILE, or use pretrained=yes or no"
        return {"state_dict": tensors_of(Path(pretrained), name, way_on)}
    way_on = "give a local file with --set pretrained=FILE, or leave it out to start from random weights"
    if not facts.get("hf_hub_id") and not facts.get("url"):
        raise MissingModel(f"timm has no weights of {name}: {way_on}")
    hub.require_hub(facts.get("hf_hub_id") or "", _HUB_FILES, f"timm's {name}", way_on)
    return {}


def _not_built(name: str, size: int, pretrained: str | Weights, error: Exception) -> RetrievalError:
    if pretrained == "no":
        return BadRequest(
            f"{name} cannot be built for {size} pixels ({errors.first_line(error)}): try another --set image_size="
        )
    way_on = "give a local file with --set pretrained=FILE" if pretrained == "yes" else "check --set pretrained=FILE"
    return MissingModel(f"{pretrained} gives no weights of {name} ({errors.first_line(error)}): {way_on}")
