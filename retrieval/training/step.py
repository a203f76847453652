"""Loss and gradients of one batch: whole, or a few pairs at a time with the same result."""

from collections.abc import Callable

import torch

from retrieval.datatypes import Features
from retrieval.encoders.encoder import DualEncoder
from retrieval.losses.contrastive import Loss
from retrieval.training import dropout
from retrieval.training.dataset import Batch


def backward(
    model: DualEncoder, batch: Batch, loss: Loss, micro_batch_size: int = 0, seed: int = 0,
    collect: Callable[[], None] = lambda: None, caption_weight: float = 0.0,
) -> tuple[Features, float]:  # fmt: skip
    """Loss and gradients of a batch; its features (detached, of the first draw of captions) and the loss.

    The loss is the mean over the draws, each against all pictures: one step sees several captions of a picture for the
    price of one look at it. What the batch says of captions alike, and of a teacher, goes to the loss. With a
    micro-batch size the towers see a few pairs at a time (gradient caching, Gao 2021): features without graph, the loss
    on all of them once, then each piece again with its share of the gradient. Every random draw is replayed, so nothing
    changes but memory and time. `collect` is called after each backward. caption_weight: of a second loss, between the
    draws: captions of one picture belong to each other too. It is in the gradients, not in the value.
    """
    device = model.device
    images, tokens = batch.images.to(device, non_blocking=True), batch.tokens.to(device, non_blocking=True)
    before = batch.first_row, batch.first_row * tokens.shape[1]
    dropout.reseed(model, seed, *before)
    if not 0 < micro_batch_size < len(images):
        features = _features(model, images, tokens)
        value = _mean_loss(loss, features, batch)
        _with_captions(value, loss, features, caption_weight).backward()
        collect()
        return _detached(features), value.item()

    pieces = [slice(i, i + micro_batch_size) for i in range(0, len(images), micro_batch_size)]
    states, whole = _without_graph(model, images, tokens, pieces)
    value = _mean_loss(loss, whole, batch)
    _with_captions(value, loss, whole, caption_weight).backward()
    collect()
    dropout.reseed(model, seed, *before)
    sides = [_is_trained(tower) for tower in (model.image_tower, model.text_tower)]
    for piece, state in zip(pieces, states, strict=True):
        _set_random_state(device, state)
        part = _features(model, images[piece] if sides[0] else None, tokens[piece] if sides[1] else None)
        again = [
            (once_more, feature.grad[piece])
            for once_more, feature in zip((part.image, part.text), _sides(whole), strict=True)
            if once_more is not None and feature.grad is not None
        ]
        outputs, grads = zip(*again, strict=True)
        torch.autograd.backward(outputs, grads)
        collect()
    return _detached(whole), value.item()


def _without_graph(
    model: DualEncoder, images: torch.Tensor, tokens: torch.Tensor, pieces: list[slice]
) -> tuple[list[tuple[torch.Tensor, ...]], Features]:
    """The random state before each piece, and the features of all of them as leaves.

    The scale and the bias are in the loss's graph once, so they receive their gradient once. Statistics of a
    BatchNorm are put back: the pieces are shown a second time.
    """
    statistics = {name: buffer.clone() for name, buffer in model.named_buffers()}
    states, cached = [], []
    with torch.no_grad():
        for piece in pieces:
            states.append(_random_state(model.device))
            cached.append(_features(model, images[piece], tokens[piece]))
        for name, buffer in model.named_buffers():
            buffer.copy_(statistics[name])
    image, text = (torch.cat(side).requires_grad_() for side in zip(*map(_sides, cached), strict=True))
    return states, Features(image, text, model.log_logit_scale.exp(), model.logit_bias)


def _sides(features: Features) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures and captions, both of which a whole batch has."""
    assert features.image is not None
    assert features.text is not None
    return features.image, features.text


def _is_trained(module: torch.nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _features(model: DualEncoder, images: torch.Tensor | None, tokens: torch.Tensor | None) -> Features:
    """The features of pictures (b, ...) and the draws of their captions (b, draws, l); its text is (b, draws, d)."""
    features = model(images, None if tokens is None else tokens.flatten(0, 1))
    if tokens is None:
        return features
    assert features.text is not None
    return features._replace(text=features.text.unflatten(0, tokens.shape[:2]))


def _with_captions(value: torch.Tensor, loss: Loss, features: Features, weight: float) -> torch.Tensor:
    """The loss of pictures and captions, and `weight` of that of each draw's captions, in the pictures' place, against
    the next draw's, round in a ring. A single draw has nobody to meet."""
    draws = _sides(features)[1].unbind(1)
    if not weight or len(draws) < 2:
        return value
    meet = [features._replace(image=one, text=other) for one, other in zip(draws, draws[1:] + draws[:1], strict=True)]
    values = [loss(both, both, 0) for both in (meet if len(meet) > 2 else meet[:1])]
    return value + weight * sum(values) / len(values)


def _mean_loss(loss: Callable[..., torch.Tensor], features: Features, batch: Batch) -> torch.Tensor:
    """The mean over the draws, each of which is told what the batch says of its captions."""
    _, texts = _sides(features)
    draws = [features._replace(text=text) for text in texts.unbind(1)]
    values = [loss(draw, draw, 0, **_said_of(number, batch, texts)) for number, draw in enumerate(draws)]
    return sum(values[1:], values[0]) / len(values)


def _said_of(draw: int, batch: Batch, like: torch.Tensor) -> dict[str, object]:
    """What the loss is told of a draw beside its features: which captions are alike, and what a teacher says."""
    told: dict[str, object] = {}
    if batch.alike is not None:
        told["ids"] = batch.alike[:, draw].to(like.device)
    if batch.teacher is not None:
        (image, text), scale, bias = _sides(batch.teacher), batch.teacher.logit_scale, batch.teacher.bias
        told["teacher"] = Features(
            image.to(like.device), text[:, draw].to(like.device), scale.to(like.device),
            None if bias is None else bias.to(like.device),
        )  # fmt: skip
    return told


def _detached(features: Features) -> Features:
    image, text = (side.detach() for side in _sides(features))
    return features._replace(image=image, text=text[:, 0], logit_scale=features.logit_scale.detach())


def _random_state(device: torch.device) -> tuple[torch.Tensor, ...]:
    on_device = (torch.cuda.get_rng_state(device),) if device.type == "cuda" else ()
    return (torch.get_rng_state(), *on_device)


def _set_random_state(device: torch.device, state: tuple[torch.Tensor, ...]) -> None:
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)
