"""Named runs: functions that return a full TrainConfig. A new way to train is a function here, not a flag."""

import dataclasses
from collections.abc import Callable

from retrieval.training.config import TrainConfig

PICTURES_SEEN = 230_000  # by a run from scratch: a quarter to half an hour on two cores
SEEN_LONG = 330_000  # by each generation of `long`: with more it learned them by heart
SOUNDS_HEARD = 40_000  # by a run of `sound`
FEW = 20_000  # pictures whose captions teach a text tower more if it knows words and not their order


def smoke(pictures: int = 0) -> TrainConfig:
    """Say within seconds whether everything runs; what is trained knows next to nothing.

    Args:
        pictures: Makes no difference here.

    Returns:
        The settings: tiny towers, two passes.
    """
    return TrainConfig(
        image_size=32, image_width=16, text_width=64, text_layers=1, dim=32, batch_size=32, epochs=2, evaluations=1,
        checkpoints=2,
    )  # fmt: skip


def from_scratch(pictures: int) -> TrainConfig:
    """Train a small encoder on your own pairs, with no pretrained weights; taken where `bridge` cannot be.

    The fewer pictures, the more passes over them, so that a run takes about as long whatever there is. The first steps
    see small crops, which are cheap; the others see the detail. All captions of a picture, up to five, are used each
    time it is seen, which teaches more than anything else does; what is gained goes into strong augmentation, because
    few pairs are soon known by heart. From few pictures the text tower learns words and not their order, which costs
    next to nothing and bears a higher rate, and captions of a picture are taught to be near each other. What comes out
    looks at a picture four times. docs/log.md has the figures.

    Args:
        pictures: How many different ones there are to learn from.

    Returns:
        The settings: about a quarter to half an hour on two cores.
    """
    epochs = min(120.0, max(4.0, PICTURES_SEEN / max(1, pictures)))
    few = pictures < FEW
    return TrainConfig(
        epochs=round(epochs, 1), batch_size=128, captions=5, lr=1e-3 if few else 5e-4, ema=0.999, image_size=160,
        train_size=128, small_size=64, small_share=0.4, crop=0.25, color_jitter=0.4, word_dropout=0.35, views=4,
        text_layers=0 if few else 2, caption_weight=0.3,
    )  # fmt: skip


def bridge(pictures: int) -> TrainConfig:
    """Learn from few pairs, in seconds or minutes: heads between pretrained towers that stay as they are.

    The towers come with the installation (package:use reads sixteen languages) and are asked once of each picture and
    caption. The heads begin with canonical correlations of what they say, which from less than two thousand pictures
    nothing betters; from more a network beside them is trained. docs/log.md has the figures.

    Args:
        pictures: How many different ones there are to learn from.

    Returns:
        The settings.
    """
    batch, steps = 1024, 0 if pictures < 2000 else 60 if pictures < 4500 else 150
    return TrainConfig(
        image_tower="package:efficientnet-lite2", text_tower="package:use", freeze="both", projection="bridge",
        closed_form="cca", prior="builtin", dim=512, views=4, crop=1.0, batch_size=batch,
        epochs=steps * batch / max(1, pictures), lr=1e-3, warmup=0.1, weight_decay=0.0, logit_scale=20.0,
        evaluations=1, checkpoints=2,
    )  # fmt: skip


def long(pictures: int) -> TrainConfig:
    """Learn more from your own pairs where time is no matter: some hours for a few thousand pictures.

    More passes than `from_scratch`, a wider picture tower, and a second generation of it, which the first one
    teaches.

    Args:
        pictures: How many different ones there are to learn from.

    Returns:
        The settings, of two generations.
    """
    usual = from_scratch(pictures)
    epochs = min(200.0, max(4.0, SEEN_LONG / max(1, pictures)))
    return dataclasses.replace(
        usual, epochs=round(epochs, 1), small_share=0.3, image_width=64, lr=7e-4, generations=2,
    )  # fmt: skip


def demo(pictures: int = 0) -> TrainConfig:
    """Learn the drawn scenes of `mmr demo` in about a minute on two cores, beside a pretrained picture tower.

    EfficientNet-Lite2 of a package is asked once of each scene, at 128 pixels, for what it sees at each place; a head
    on it is trained together with a text tower from scratch. Both put into their vectors which color is whose, and what
    is to the left of what: as products, which need no more looks than a bag of words does.

    Args:
        pictures: Makes no difference here.

    Returns:
        The settings.
    """
    return TrainConfig(
        image_tower="products", text_tower="products", freeze="image", image_size=128, text_width=128, vocabulary=600,
        dim=640, epochs=8, batch_size=64, captions=5, duplicates="positive", lr=3e-3, logit_scale=20.0, ema=0.99,
        crop=1.0, flip="no", checkpoints=2,
    )  # fmt: skip


def demo_from_scratch(pictures: int = 0) -> TrainConfig:
    """Learn the drawn scenes of `mmr demo` without a pretrained weight, as it does where the package is missing.

    Each of some 19,000 is seen once, at 48 pixels, with all its captions: a new scene costs less to draw than another
    look at an old one teaches. The text tower learns words and not their order.

    Args:
        pictures: Makes no difference here.

    Returns:
        The settings.
    """
    return TrainConfig(
        image_size=48, image_width=32, text_layers=0, vocabulary=600, epochs=1, batch_size=48, captions=7,
        duplicates="positive", lr=2e-3, ema=0.99, crop=1.0, flip="no", checkpoints=2,
    )  # fmt: skip


def sound(pictures: int) -> TrainConfig:
    """Train an encoder that hears on sounds, or the sound of clips, and their captions, with no pretrained weights.

    A small CNN on the log-mel spectrogram of five seconds (image_tower=ast is a transformer on it; `seconds`, `frames`
    are how much of a sound is heard) beside a text tower that learns words from the captions. What a crop or a mirror
    image of a spectrogram would be is another sound, so there are none.

    Args:
        pictures: How many sounds there are to learn from.

    Returns:
        The settings: minutes on two cores for a few thousand sounds.
    """
    epochs = min(60.0, max(8.0, SOUNDS_HEARD / max(1, pictures)))
    return TrainConfig(
        image_tower="mel", epochs=round(epochs, 1), batch_size=64, captions=5, duplicates="positive", lr=1e-3,
        ema=0.99, crop=1.0, flip="no", vocabulary=2048, word_dropout=0.1,
    )  # fmt: skip


def finetune(pictures: int = 0) -> TrainConfig:
    """Go on from a trained encoder: a low rate, so that it forgets little of what it knows.

    Args:
        pictures: Makes no difference here.

    Returns:
        The settings, without the encoder: `dataclasses.replace(finetune(), encoder="runs/mine")` names it, as
        `mmr train --model` does.
    """
    return TrainConfig(lr=1e-5, batch_size=128, epochs=3, weight_decay=0.2, crop=0.9, warmup=0.1)


# What `mmr train --recipe NAME` takes: each is called with the number of different pictures.
RECIPES: dict[str, Callable[[int], TrainConfig]] = {
    "smoke": smoke, "from_scratch": from_scratch, "bridge": bridge, "long": long, "demo": demo,
    "demo_from_scratch": demo_from_scratch, "finetune": finetune, "sound": sound,
}  # fmt: skip
