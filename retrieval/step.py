"""Loss and gradients of one batch: whole, or a few pairs at a time with the same result."""

from collections.abc import Callable

import torch

from retrieval.batches import Batch
from retrieval.datatypes import Features
from retrieval.encoder import DualEncoder
from retrieval.losses import Loss
from retrieval.towers import reseed_dropout


def backward(
    model: DualEncoder, batch: Batch, loss: Loss, micro_batch_size: int = 0, seed: int = 0,
    collect: Callable[[], None] = lambda: None,
) -> tuple[Features, float]:  # fmt: skip
    """Loss and gradients of a batch; its features (detached, of the first draw of captions) and the loss.

    The loss is the mean over the draws, each against all pictures: one step sees several captions of a picture for the
    price of one look at it. With a micro-batch size the towers see a few pairs at a time (gradient caching, Gao 2021):
    features without graph, the loss on all of them once, then each piece again with its share of the gradient. Every
    random draw is replayed, so nothing changes but memory and time. `collect` is called after each backward.
    """
    device = model.device
    images, tokens = batch.images.to(device, non_blocking=True), batch.tokens.to(device, non_blocking=True)
    reseed_dropout(model, seed)
    if not 0 < micro_batch_size < len(images):
        features = _features(model, images, tokens)
        value = _mean_loss(loss, features)
        value.backward()
        collect()
        return _detached(features), value.item()

    pieces = [slice(i, i + micro_batch_size) for i in range(0, len(images), micro_batch_size)]
    states, cached = [], []
    with torch.no_grad():
        for piece in pieces:
            states.append(_random_state(device))
            cached.append(_features(model, images[piece], tokens[piece]))
    image = torch.cat([part.image for part in cached]).requires_grad_()
    text = torch.cat([part.text for part in cached]).requires_grad_()
    # The scale and the bias are in this graph once, so they receive their gradient once.
    whole = Features(image, text, model.log_logit_scale.exp(), model.logit_bias)
    value = _mean_loss(loss, whole)
    value.backward()
    collect()
    reseed_dropout(model, seed)
    for piece, state in zip(pieces, states, strict=True):
        _set_random_state(device, state)
        part = _features(model, images[piece], tokens[piece])
        torch.autograd.backward([part.image, part.text], [image.grad[piece], text.grad[piece]])
        collect()
    return _detached(whole), value.item()


def _features(model: DualEncoder, images: torch.Tensor, tokens: torch.Tensor) -> Features:
    """Of pictures (b, ...) and the draws of their captions (b, draws, l); its text is (b, draws, d)."""
    features = model(images, tokens.flatten(0, 1))
    return features._replace(text=features.text.unflatten(0, tokens.shape[:2]))


def _mean_loss(loss: Loss, features: Features) -> torch.Tensor:
    draws = [features._replace(text=text) for text in features.text.unbind(1)]
    return sum(loss(draw, draw, 0) for draw in draws) / len(draws)


def _detached(features: Features) -> Features:
    return features._replace(
        image=features.image.detach(), text=features.text[:, 0].detach(), logit_scale=features.logit_scale.detach()
    )


def _random_state(device: torch.device) -> tuple[torch.Tensor, ...]:
    on_device = (torch.cuda.get_rng_state(device),) if device.type == "cuda" else ()
    return (torch.get_rng_state(), *on_device)


def _set_random_state(device: torch.device, state: tuple[torch.Tensor, ...]) -> None:
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)
