"""TrainConfig: every knob of a run on one page, checked once."""

from collections.abc import Iterable
from dataclasses import dataclass

from retrieval.encoders.config import WITH_NEW_HEADS, EncoderConfig, split
from retrieval.engine import DEVICES, PRECISIONS
from retrieval.settings import assign, require, setting
from retrieval.training.schedule import SCHEDULES


@dataclass(frozen=True, kw_only=True)
class TrainConfig(EncoderConfig):
    """Every setting of a run: frozen, keyword-only, checked when it is made.

    Recipes (`retrieval.recipes`) are functions that return one; `dataclasses.replace`, or `settings` for texts such as
    `lr=1e-3`, makes another of it. Each field says its default, its range and its meaning below, which
    `mmr train --settings` shows as a table. The fields of EncoderConfig are for an encoder from scratch.

    Raises:
        BadRequest: A setting, or two of them together, cannot be.

    Examples:
        >>> dataclasses.replace(recipes.smoke(), epochs=1).batch_size
        32
        >>> TrainConfig().settings(["lr=1e-3", "loss=sigmoid"]).loss
        'sigmoid'
    """

    encoder: str = setting(
        "", "what is trained: nothing is a small encoder from scratch", takes="any name that load_encoder takes",
        group="What is shown",
    )  # fmt: skip
    train_size: int = setting(
        0,
        "pixels of the crops in training; 0 is image_size. A crop magnifies, so fewer do (FixRes)",
        multiple=16,
        least=0,
    )
    small_size: int = setting(64, "pixels of the crops of the first steps, which cost less", multiple=16, above=0)
    small_share: float = setting(0.0, "share of the run whose crops have small_size", least=0, below=1)
    frames: int = setting(
        1,
        "frames of a clip, in training; 1 is its middle one. A picture beside clips is one that does not move",
        above=0,
    )

    batch_size: int = setting(
        256, "pairs that see each other; fewer pictures than that make one batch", above=0, group="Which pairs meet"
    )
    micro_batch_size: int = setting(
        0, "pairs in memory at once; 0 is the whole batch. Changes nothing but memory and time", least=0
    )
    epochs: float = setting(30.0, "passes over the pictures; 0 is the closed form alone", least=0)
    hard_negatives: str = setting(
        "", "makes some pictures of a batch near to others of it", takes="an index that holds the pictures"
    )
    hard_share: float = setting(0.25, "share of a batch that hard_negatives chooses", least=0, below=1)
    captions: int = setting(
        1, "captions drawn of each picture in a step; each draw is a batch of its own, so they never meet", above=0
    )
    seed: int = setting(0, "seed of everything that is drawn")

    closed_form: str = setting(
        "", "what the heads of frozen towers begin with: cca or ridge with projection=bridge, asif with anchors",
        choices=("", "cca", "ridge", "asif"), group="What is asked of them",
    )  # fmt: skip
    prior: str = setting(
        "", "an encoder that knows frozen towers already goes beside what is learned, with the share that pairs held "
        "out say", choices=("", "builtin"),
    )  # fmt: skip
    loss: str = setting("info_nce", "the loss of a batch", choices=("info_nce", "sigmoid"))
    logit_scale: float = setting(1 / 0.07, "what cosines are multiplied by at the start; it is learned", above=0)
    max_logit_scale: float = setting(100.0, "the largest that logit_scale may become", above=0)
    label_smoothing: float = setting(0.0, "label smoothing of info_nce", least=0, below=1)
    duplicates: str = setting(
        "negative",
        "what captions of the same words are, where they are of other pictures",
        choices=("negative", "masked", "positive"),
    )
    loss_budget_mb: int = setting(
        128, "megabytes of logits kept for their gradients; a larger batch makes them twice, a third more work", least=0
    )
    seen_by: str = setting(
        "",
        "what it sees in clips stands in place of captions of their sound, and its words find sounds (mel, ast)",
        takes="an encoder that sees",
    )
    teacher: str = setting(
        "", "its answers on the same pairs become part of the targets", takes="an encoder, or several with commas"
    )
    teacher_share: float = setting(0.5, "share of the targets that is the teacher's", above=0, most=1)
    generations: int = setting(1, "runs, each but the first taught by the one before it", above=0)
    caption_weight: float = setting(
        0.0, "weight of a loss between captions of a picture, which is added; one caption has none to meet", least=0
    )

    optimizer: str = setting(
        "adamw",
        "the rule of a step; lion takes a third to a tenth of adamw's rate; sgd has momentum",
        choices=("adamw", "lion", "sgd"),
        group="How the weights move",
    )
    lr: float = setting(1e-3, "the highest rate", above=0)
    schedule: str = setting(
        "cosine", "how the rate changes over the run; cooldown is constant and then down", choices=tuple(SCHEDULES)
    )
    warmup: float = setting(0.05, "share of the steps in which the rate rises", least=0, below=1)
    cooldown: float = setting(0.2, "share of the steps in which schedule=cooldown goes down", above=0, most=1)
    layer_decay: float = setting(
        1.0, "each layer below a tower's head has this share of the rate of the one above it", above=0, most=1
    )
    weight_decay: float = setting(0.1, "decay of matrices and filters", least=0)
    beta1: float = setting(0.9, "decay of the mean of gradients", least=0, below=1)
    beta2: float = setting(0.98, "decay of the mean of their squares; lion: of the mean that is kept", least=0, below=1)
    grad_clip: float = setting(1.0, "the largest norm of all gradients", above=0)
    ema: float = setting(
        0.0, "decay of the averaged weights, which are what is evaluated and saved; 0 is off", least=0, below=1
    )

    freeze: str = setting(
        "", "a tower that is not trained (LiT: image)", choices=("", "image", "text", "both"),
        group="What stays as it is",
    )  # fmt: skip
    unfreeze: int = setting(
        0, "last layers of a frozen tower that are trained after all: 1 is the head, 2 the block below it too", least=0
    )
    lora: int = setting(
        0, "rank of small matrices that are trained in place of the towers that are not frozen; 0 is off", least=0
    )
    lora_alpha: float = setting(16.0, "what they add is scaled by this / lora", above=0)

    crop: float = setting(
        0.85, "smallest share of a picture's area that is shown; 1 shows all of it", above=0, most=1,
        group="What makes memorizing harder",
    )  # fmt: skip
    color_jitter: float = setting(
        0.0, "brightness, contrast and saturation each change by up to this share", least=0, below=1
    )
    flip: str = setting(
        "auto",
        "mirror half of the pictures; auto: unless captions speak of left and right",
        choices=("auto", "yes", "no"),
    )
    word_dropout: float = setting(
        0.0, "share of the tokens left out; each caption draws its own, from 0 to twice this", least=0, below=1
    )
    patch_dropout: float = setting(
        0.0, "share of a picture's patches left out, where the tower has patches (FLIP)", least=0, below=1
    )

    device: str = setting("auto", "where it runs", choices=tuple(DEVICES), group="Where and how often")
    precision: str = setting(
        "auto", "number type of the towers' bodies; master weights are float32", choices=tuple(PRECISIONS)
    )
    shard: bool = setting(False, "each of several processes holds a share of the model, not the whole")
    compile: str = setting(
        "", "makes the towers' bodies faster; nothing is off", takes="a backend of torch.compile, as inductor"
    )
    evaluations: int = setting(4, "how often it is evaluated, where there is something to evaluate on", least=0)
    measure: str = setting(
        "recall@10", "what makes an evaluation the best, over both directions", takes="a metric that is evaluated"
    )
    keep: str = setting("best", "whose weights are saved", choices=("best", "last"))
    patience: int = setting(
        0, "the run ends after so many evaluations in a row without a better one; 0 is never", least=0
    )
    tensorboard: bool = setting(False, "events are written into RUN/tensorboard as well")
    checkpoints: int = setting(10, "how many are made during the run; the last two are kept", least=0)
    pixel_cache_gb: float = setting(3.0, "gigabytes of decoded pictures that are kept in memory", least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(not self.label_smoothing or self.loss == "info_nce", "label_smoothing", "belongs to loss=info_nce")
        require(not self.unfreeze or self.freeze != "", "unfreeze", "belongs to freeze=image, text or both")
        ends = split(self.image_tower)[0] in WITH_NEW_HEADS and split(self.text_tower)[0] in WITH_NEW_HEADS
        trained = self.unfreeze > 0 or ends
        other = "must be above 0 where freeze=both and a tower has no new head: or use --recipe from_scratch"
        require(self.freeze != "both" or trained, "unfreeze", other)
        require(self.epochs > 0 or self.closed_form != "", "epochs", "must be above 0, or --set closed_form=cca")
        require(not (self.lora and self.unfreeze), "unfreeze", "must be 0 beside lora")
        require(not (self.lora and self.freeze == "both"), "freeze", "must be image, text or nothing beside lora")
        require(not (self.compile and self.shard), "shard", "must be no beside compile")

    def settings(self, assignments: Iterable[str]) -> "TrainConfig":
        """Apply settings as they are typed.

        Args:
            assignments: Texts `field=value`, as behind `--set`.

        Returns:
            A copy with these values.

        Raises:
            BadRequest: A field is unknown (the message has the nearest name), or a value cannot be.
        """
        return assign(self, assignments)
