"""EfficientNet-Lite2 as an image tower, `image_tower=package:efficientnet-lite2`: timm's model, a package's weights.

Without squeeze-and-excitation and swish it is fast on a CPU (Tan & Le 2019; Lite is of 2020). It knows the thousand
classes of ImageNet. TensorFlow's padding depends on the size of a picture: timm's does too, and that of the package's
own code where it is told the size.
"""

import re
from typing import Any

import torch
from torch import Tensor, nn

from retrieval import packages
from retrieval.errors import MissingModel, first_line
from retrieval.towers.layers import dtype_of
from retrieval.towers.timm_tower import TimmTower, fit

NAME = "efficientnet-lite2"
FEATURES, CLASSES = 1280, 1000
MIDDLE = (5, 0)  # stage and block
ARCHITECTURE = "tf_efficientnet_lite2"


class LiteTower(TimmTower):
    """EfficientNet-Lite2, features of two depths projected: (b, c, s, s) to (b, dim).

    The pooled features, and the mean over the picture of what a block in the middle widens to: places, textures and
    colors that ImageNet's classes have no use for (docs/log.md has what they are worth).

    spec: {"name": "efficientnet-lite2"; "size"; "channels"; "activation" and "projection" of the last layer; "classes":
    true where the classifier is kept beside it}. pretrained: "yes" for the package's weights, "no" for random ones,
    which a run's take the place of. Raises MissingModel where the package is gone or altered.
    """

    new_parts = ("project",)
    own_size = 224
    more_features = 720

    def __init__(
        self, dim: int, size: int = own_size, channels: int = 3, dropout: float = 0.0, activation: str = "gelu",
        projection: str = "linear", pretrained: str = "no", classes: bool = False,
    ) -> None:  # fmt: skip
        weights = weights_of_package() if pretrained != "no" else None
        super().__init__(
            dim, ARCHITECTURE, size, channels, "still", dropout, activation, projection, weights or "no"
        )  # fmt: skip
        self.spec = {name: value for name, value in self.spec.items() if name != "norm"}
        self.spec |= {"type": "package", "name": NAME} | ({"classes": True} if classes else {})
        self.classifier = nn.Linear(FEATURES, CLASSES) if classes else None
        if self.classifier and weights:
            self.classifier.load_state_dict({part: weights[f"classifier.{part}"] for part in ("weight", "bias")})

    def features(self, pixels: Tensor) -> Tensor:
        """Pooled features (b, 1280), then those of the middle (b, 720). pixels: as for `forward`."""
        last, middle = self._at_two_depths(fit(pixels, self.size).to(dtype_of(self.body)))
        body: Any = self.body  # whose parts nn.Module does not know
        return torch.cat([body.global_pool(last), middle.mean((2, 3))], 1).to(dtype_of(self.project))

    def place_features(self, pixels: Tensor) -> Tensor:
        """As of any image tower: both depths keep the same places, a 32nd of the picture's side apart."""
        maps = torch.cat(self._at_two_depths(fit(pixels, self.size).to(dtype_of(self.body))), 1)
        return maps.permute(0, 2, 3, 1).to(dtype_of(self.project))

    def features_and_logits(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """`features`, and ImageNet's logits (b, 1000), float32. pixels: as for `forward`.

        Only with `classes`.
        """
        assert self.classifier is not None, "built with classes=True"
        features = self.features(pixels)
        return features, self.classifier(features[:, :FEATURES])

    def _at_two_depths(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What timm's model pools, (b, 1280, h, w), and what its block MIDDLE widened its input to, (b, 720, h, w)."""
        body: Any = self.body  # whose parts nn.Module does not know
        x = body.bn1(body.conv_stem(x))
        middle = x
        for stage, blocks in enumerate(body.blocks):
            for place, block in enumerate(blocks):
                if (stage, place) == MIDDLE:  # it has no way around itself
                    middle = block.bn2(block.conv_dw(block.bn1(block.conv_pw(x))))
                    x = block.bn3(block.conv_pwl(middle))
                else:
                    x = block(x)
        return body.bn2(body.conv_head(x)), middle


# ---------------------------------------------------------------- the package's weights


def weights_of_package() -> dict[str, Tensor]:
    """The package's weights by timm's names. Raises MissingModel where it is gone or altered."""
    package = packages.PACKAGES[NAME]
    (file,) = packages.files_of(package).values()
    try:
        tensors = torch.load(file, "cpu", weights_only=True)
    # Its SHA-256 is right, so torch is at fault: it raises families of its own.
    except Exception as error:
        raise MissingModel(f"{file} cannot be read ({first_line(error)}): pip install --upgrade torch") from error
    return {timms(name): tensor for name, tensor in tensors.items()}


_DEPTHS = (1, 3, 3, 4, 4, 5, 1)  # blocks of a stage
_PLACES = [(stage, block) for stage, depth in enumerate(_DEPTHS) for block in range(depth)]
_OUTSIDE = {"conv_stem": "conv_stem", "bn0": "bn1", "conv_head": "conv_head", "bn1": "bn2", "fc": "classifier"}
_FIRST = {"depthwise_conv": "conv_dw", "bn1": "bn1", "project_conv": "conv_pw", "bn2": "bn2"}  # it does not widen
_WIDENED = {
    "expand_conv": "conv_pw", "bn0": "bn1", "depthwise_conv": "conv_dw", "bn1": "bn2", "project_conv": "conv_pwl",
    "bn2": "bn3",
}  # fmt: skip
_BLOCK = re.compile(r"_blocks\.(\d+)\._(\w+)\.(\w+)")


def timms(name: str) -> str:
    """timm's name of a tensor of the package: "_blocks.4._expand_conv.weight" is "blocks.2.0.conv_pw.weight"."""
    if not (match := _BLOCK.fullmatch(name)):
        layer, _, tensor = name.removeprefix("_").partition(".")
        return f"{_OUTSIDE[layer]}.{tensor}"
    stage, block = _PLACES[int(match[1])]
    layers = _WIDENED if stage else _FIRST
    return f"blocks.{stage}.{block}.{layers[match[2]]}.{match[3]}"
