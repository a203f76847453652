"""Several encoders as one: their vectors are put beside each other, so that its scores are the mean of theirs.

Different runs make different mistakes, so two find more than the better of them, at the time and the memory of both.
"""

from collections.abc import Sequence

import torch

from retrieval.encoders.encoder import DualEncoder
from retrieval.encoders.protocol import KeptTokenizer
from retrieval.errors import BadRequest
from retrieval.towers.combined import EnsembleTower


@torch.no_grad()
def ensemble(encoders: Sequence[DualEncoder]) -> DualEncoder:
    """Make one encoder of several.

    Args:
        encoders: Runs from scratch that see pictures of one size and share a tokenizer: `mmr train` on the same
            captions with different seeds. Their towers become parts of the new encoder.

    Returns:
        An encoder in eval mode whose logits are the mean of theirs; its vectors are as long as theirs together.

    Raises:
        BadRequest: They do not see pictures or read words alike, or one is pretrained, trained with the sigmoid loss or
            pools clips in a learned way.

    Examples:
        >>> ensemble([load_encoder("runs/one"), load_encoder("runs/two")]).save("runs/both")
    """
    _require_alike(encoders)
    scales = torch.stack([encoder.log_logit_scale.exp() for encoder in encoders])
    shares, dims = (scales / scales.sum()).tolist(), [encoder.dim for encoder in encoders]
    image = EnsembleTower([encoder.image_tower for encoder in encoders], dims, shares)
    text = EnsembleTower([encoder.text_tower for encoder in encoders], dims, shares)
    first = encoders[0]
    return DualEncoder(
        image, text, first.preprocess, first.tokenize, sum(dims), {"image": image.spec, "text": text.spec},
        logit_scale=scales.mean().item(),
    ).eval()  # fmt: skip


def _require_alike(encoders: Sequence[DualEncoder]) -> None:
    words = []
    for encoder in encoders:
        if not isinstance(encoder.tokenize, KeptTokenizer) or encoder.frame_pool or encoder.logit_bias is not None:
            raise BadRequest(
                f"{encoder.name} cannot be part of an ensemble: take runs from scratch, with loss=info_nce and "
                "frame_pooling=mean"
            )
        words.append(encoder.tokenize.content())
    first = encoders[0]
    for other, others in zip(encoders, words, strict=True):
        if other.preprocess != first.preprocess or others != words[0]:
            raise BadRequest(
                f"{first.name} and {other.name} do not see pictures and words alike: train both on the same captions "
                "with one image_size and one vocabulary"
            )
