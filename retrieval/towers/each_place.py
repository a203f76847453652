"""What towers of other hands say of each place of a picture, as if the place were all that the pooling sees.

A tower trained to give one vector of a picture has never been asked about a place. Where it ends in a mean, the places
are what the mean is of. Where it ends in attention, of a class token or of a pooling, the answer is a weighted sum of
the values of the places: the value of each, taken the rest of the way, lies in the same space (MaskCLIP: Zhou, Loy and
Dai 2022, Extract Free Dense Labels from CLIP, section 3.2). Every function here takes normalized pixels (b, c, s, s)
and gives (b, rows, columns, d); NotImplementedError says that a tower has no places.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


def along(module: nn.Module | Any, places: Tensor) -> Tensor:
    """A module of rows (n, d) asked of every place, (b, rows, columns, d) to (b, rows, columns, e)."""
    return module(places.flatten(0, 2)).unflatten(0, places.shape[:3])


def laid(lines: Tensor) -> Tensor:
    """Lines of a square's places (b, n, d), row by row, as (b, rows, columns, d)."""
    side = round(lines.shape[1] ** 0.5)
    if side * side != lines.shape[1]:
        raise NotImplementedError(f"{lines.shape[1]} places are no square")
    return lines.unflatten(1, (side, side))


def by_value(block: Any, tokens: Tensor) -> Tensor:
    """A transformer's block for tokens (b, n, d) where each attends to itself alone: attention gives its own value.

    block: open_clip's ResidualAttentionBlock, or timm's Block, whose packages have no types.
    """
    first, second = ("ln_1", "ln_2") if hasattr(block, "ln_1") else ("norm1", "norm2")
    if not hasattr(block, first) or not hasattr(block, "mlp"):
        raise NotImplementedError(f"{type(block).__name__} is no block that is known")
    x = tokens + _scaled(block, "1", _value(block.attn, getattr(block, first)(tokens)))
    return x + _scaled(block, "2", block.mlp(getattr(block, second)(x)))


def _scaled(block: Any, number: str, x: Tensor) -> Tensor:
    for name in (f"ls_{number}", f"ls{number}"):
        if hasattr(block, name):
            return getattr(block, name)(x)
    return x


def _value(attention: Any, x: Tensor) -> Tensor:
    """What attention makes of tokens (..., d) that see nothing but themselves."""
    if getattr(attention, "in_proj_weight", None) is not None:  # torch's, and ours of it
        width = attention.in_proj_weight.shape[0] // 3
        bias = attention.in_proj_bias
        value = F.linear(x, attention.in_proj_weight[2 * width :], None if bias is None else bias[2 * width :])
        return attention.out_proj(value)
    if isinstance(getattr(attention, "qkv", None), nn.Linear):  # timm's
        value = attention.qkv(x).chunk(3, dim=-1)[2]
        return attention.proj(attention.norm(value) if hasattr(attention, "norm") else value)
    raise NotImplementedError(f"{type(attention).__name__} is no attention that is known")


# ---------------------------------------------------------------- timm


def of_timm(body: Any, pixels: Tensor) -> Tensor:
    """What a timm model without a classifier gives of each place, pooled as a picture of that place alone is."""
    if hasattr(body, "blocks") and hasattr(body, "patch_embed") and hasattr(body, "fc_norm"):
        return _of_timm_transformer(body, pixels)
    maps = body.forward_features(pixels)
    if maps.ndim != 4:
        raise NotImplementedError(f"{type(body).__name__} keeps no map of places")
    last = getattr(body, "output_fmt", "NCHW") == "NHWC"  # as Swin's are
    places = maps if last else maps.permute(0, 2, 3, 1)
    one = (lambda rows: rows[:, None, None]) if last else (lambda rows: rows[:, :, None, None])
    return along(lambda rows: body.forward_head(one(rows)), places)


def _of_timm_transformer(body: Any, pixels: Tensor) -> Tensor:
    """Of its patches. Those of a class token go through the last block by their values."""
    by_token = body.global_pool == "token"
    if body.global_pool not in ("token", "avg", "map"):
        raise NotImplementedError(f"the pooling `{body.global_pool}` is none that is known")
    last = len(body.blocks) - (2 if by_token else 1)
    (maps,) = body.forward_intermediates(pixels, indices=[last], norm=False, intermediates_only=True)
    lines = maps.flatten(2).transpose(1, 2)
    lines = body.norm(by_value(body.blocks[-1], lines) if by_token else lines)
    places = lines.unflatten(1, maps.shape[2:])
    pool = body.attn_pool if body.global_pool == "map" else None
    return along(lambda rows: body.forward_head(rows[:, None]) if pool else body.fc_norm(rows), places)


# ---------------------------------------------------------------- open_clip


def of_open_clip(body: Any, pixels: Tensor) -> Tensor:
    """The vector of each place of an open_clip image tower: a ViT, a ResNet with attention, or one of timm."""
    if hasattr(body, "trunk"):
        return _of_trunk(body, pixels)
    if hasattr(body, "attnpool"):
        return _of_resnet(body, pixels)
    if hasattr(body, "transformer") and hasattr(body, "conv1"):
        return _of_transformer(body, pixels)
    raise NotImplementedError(f"{type(body).__name__} is no tower that is known")


def _of_trunk(body: Any, pixels: Tensor) -> Tensor:
    if hasattr(body.head, "pool"):
        raise NotImplementedError("a pooling by attention over a map of fixed size")
    return along(body.head, of_timm(body.trunk, pixels))


def _of_resnet(body: Any, pixels: Tensor) -> Tensor:
    """Each place's value in the pooling, with the code of where it is, as the pooling sees it."""
    x, pool = body.stem(pixels), body.attnpool
    for layer in (body.layer1, body.layer2, body.layer3, body.layer4):
        x = layer(x)
    lines = x.flatten(2).transpose(1, 2) + pool.positional_embedding[1:].to(x.dtype)
    return pool.c_proj(pool.v_proj(lines)).unflatten(1, x.shape[2:])


def _of_transformer(body: Any, pixels: Tensor) -> Tensor:
    if body.attn_pool is not None or body.pool_type not in ("tok", "avg"):
        raise NotImplementedError(f"the pooling `{body.pool_type}` is none that is known")
    blocks, batch_first = body.transformer.resblocks, body.transformer.batch_first
    x = body._embeds(pixels)
    for block in blocks[:-1]:
        x = block(x if batch_first else x.transpose(0, 1))
        x = x if batch_first else x.transpose(0, 1)
    if body.pool_type == "tok":
        x = by_value(blocks[-1], x[:, 1:])
    else:
        x = (blocks[-1](x) if batch_first else blocks[-1](x.transpose(0, 1)).transpose(0, 1))[:, 1:]
    x = body.ln_post(x)
    return laid(x if body.proj is None else x @ body.proj)
