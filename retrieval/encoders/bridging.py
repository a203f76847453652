"""An encoder that was learned on frozen towers, and `builtin`, which knows those towers too, as one."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from retrieval.encoders import builtin
from retrieval.encoders.encoder import DualEncoder
from retrieval.errors import BadRequest
from retrieval.towers.bridged import BridgedTower, ImagePrior, TextPrior
from retrieval.towers.builtin import BuiltinImageTower, BuiltinTextTower
from retrieval.towers.tower import Spec

IMAGES, TEXTS = "efficientnet-lite2", "use"


class Priors(NamedTuple):
    """What `builtin` makes of the features of either side."""

    image: ImagePrior
    text: TextPrior

    @torch.inference_mode()
    def rows(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Unit rows of pictures, by features of their views (n, views, w), and of texts, by features (m, v)."""
        looks = F.normalize(self.image(images.flatten(0, 1)), dim=-1).unflatten(0, images.shape[:2])
        return F.normalize(looks.sum(1), dim=-1), F.normalize(self.text(texts), dim=-1)


def priors_for(encoder: DualEncoder) -> Priors:
    """Those of an encoder's own towers. Raises BadRequest where it has others, MissingModel where a package is gone."""
    require_known(encoder)
    whole = builtin.load()
    image, text = whole.image_tower, whole.text_tower
    assert isinstance(image, BuiltinImageTower) and isinstance(text, BuiltinTextTower), "made so"
    priors = Priors(ImagePrior(whole.dim), TextPrior(whole.dim, len(text.space.anchors), text.space.named))
    assert image.lite.classifier is not None, "made so"
    priors.image.classifier, priors.image.space = image.lite.classifier, image.space
    priors.text.space = text.space
    for prior in priors:
        prior.requires_grad_(False).eval().to(encoder.device)
    return priors


def require_known(encoder: DualEncoder) -> None:
    """Raise BadRequest where a tower is none that `builtin` knows."""
    first = encoder.spec["text"]
    first = first["parts"][0] if first["type"] == "beside" else first
    if [_packaged(encoder.spec["image"]), _packaged(first)] != [IMAGES, TEXTS]:
        raise BadRequest(
            f"prior=builtin knows image_tower=package:{IMAGES} and text_tower=package:{TEXTS}: use these, or add "
            "--set prior="
        )


def _packaged(spec: Spec) -> str:
    return spec.get("name", "") if spec["type"] == "package" else ""


def bridged(encoder: DualEncoder, priors: Priors, share: float) -> DualEncoder:
    """The encoder with the priors beside it; itself where their share is 0. Its own parts are in what comes out."""
    if not share:
        return encoder
    dim = len(priors.image.space.basis[0])
    how: Spec = {"dim": dim, "anchors": len(priors.text.space.anchors), "named": priors.text.space.named}
    image = BridgedTower(encoder.image_tower, encoder.dim, priors.image, {"dim": dim}, share)
    text = BridgedTower(encoder.text_tower, encoder.dim, priors.text, how, share)
    made = DualEncoder(
        image, text, encoder.preprocess, encoder.tokenize, encoder.dim + dim, {"image": image.spec, "text": text.spec}
    )
    made.log_logit_scale, made.logit_bias = encoder.log_logit_scale, encoder.logit_bias
    made.languages = encoder.languages
    return made.train(encoder.training)
