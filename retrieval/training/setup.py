"""All that a run needs, built before its first step: from pairs and settings to a Run, which no step changes.

The order matters where it can be seen: the first weights come from the seed alone, teachers are asked before the towers
move to a lower precision, and what cannot be is said before anything is written.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from retrieval import engine
from retrieval.callbacks import OnMessage, OnProgress, no_message, no_progress
from retrieval.datatypes import Pair
from retrieval.encoders import bridging
from retrieval.encoders.bridging import Priors
from retrieval.encoders.build import new_encoder
from retrieval.encoders.config import frames_spec
from retrieval.encoders.encoder import DualEncoder
from retrieval.encoders.load import load_encoder
from retrieval.errors import BadRequest
from retrieval.losses.contrastive import LOSSES, Loss
from retrieval.training import closed_forms, features, fitness, health, run_folder, seen_by, sharing, trainable
from retrieval.training.closed_forms import Seen
from retrieval.training.config import TrainConfig
from retrieval.training.dataset import TrainingSet, mirrors
from retrieval.training.distributed import ring, sharding
from retrieval.training.distributed.ranks import ALONE, Ranks
from retrieval.training.dropout import place_dropout
from retrieval.training.features import FeatureSet, SeenOnce, sees_the_same
from retrieval.training.log import Progress, require_tensorboard
from retrieval.training.optimizer import Optimizer
from retrieval.training.teacher import load_teachers


@dataclass(frozen=True, slots=True)
class Listeners:
    """The callbacks of a run; see `train` for what each is told."""

    on_eval: Callable[[DualEncoder], dict[str, float]] | None
    on_decode: OnProgress
    on_step: Callable[[Progress], None]
    on_message: OnMessage

    def silenced(self) -> "Listeners":
        """For every process but the first: nobody listens, but evaluations still take place."""
        return Listeners(self.on_eval, no_progress, lambda progress: None, no_message)


class Beside(NamedTuple):
    """What was known before of the features that are learned from, and how much of it goes beside what is learned."""

    priors: Priors
    share: float


@dataclass(frozen=True, slots=True)
class Run:
    """What a run is made of, from its first step to its last.

    model: the encoder in training, or this process's share of it, for which `mould` then makes whole ones. frozen: what
    is not trained, as it was. identity: what a checkpoint must have in common with the run that goes on from it.
    """

    out: Path
    config: TrainConfig
    ranks: Ranks
    listeners: Listeners
    model: DualEncoder
    mould: sharding.Mould | None
    data: TrainingSet
    frozen: trainable.Frozen
    optimizer: Optimizer
    loss: Loss
    beside: Beside | None
    identity: dict[str, Any]
    watch: health.HealthWatch

    def finished(self, encoder: DualEncoder) -> DualEncoder:
        """What people get of the encoder in training: with what was known before beside it."""
        return bridging.bridged(encoder, self.beside.priors, self.beside.share) if self.beside else encoder

    @property
    def is_first(self) -> bool:
        """Is this the process that writes and speaks?"""
        return self.ranks.rank == 0


def set_up(pairs: Sequence[Pair], out: Path, config: TrainConfig, ranks: Ranks, listeners: Listeners) -> Run:
    """Build everything; nothing is written. Raises BadRequest and MissingModel for what cannot be."""
    if config.tensorboard:
        require_tensorboard()
    if not config.seen_by:
        fitness.check(pairs, listeners.on_message)
    torch.manual_seed(config.seed)
    model = first_encoder(pairs, config)
    fitness.say_unread(pairs, model.languages, config.encoder or config.text_tower, listeners.on_message)
    base = model.fingerprint if config.encoder else ""
    teachers = load_teachers(config.teacher, ranks.device.type, config.precision)
    _choose_what_is_trained(model, config)
    mould = _place(model, config, ranks, listeners)
    changes = features.what_changes(model, config)
    require_still(config, changes)
    kind = FeatureSet if not changes else SeenOnce if sees_the_same(model, config) else TrainingSet
    kind = seen_by.SeenBy if config.seen_by else kind
    data = kind(pairs, model, config, listeners.on_decode, ranks.size, ranks.rank, teachers)
    ranks.part(data.batch_size)
    if config.closed_form:
        begin_with(config.closed_form, model, data)
    beside = known_before(model, data, config, listeners.on_message) if config.prior else None
    frozen = trainable.Frozen(model)
    _lower_precision(model, config, ranks.device)
    optimizer = Optimizer(model, config, data.steps)
    loss = loss_of(config, ranks)
    identity = {
        "settings": dataclasses.asdict(config), "data": run_folder.digest(pairs), "encoder": base,
        "teacher": ",".join(teacher.fingerprint for teacher in teachers), "order": data.order.fingerprint,
    }  # fmt: skip
    watch = health.HealthWatch(config, data.batch_size, data.steps, listeners.on_message)
    if config.duplicates == "negative":
        health.say_repeated(pairs, data.batch_size, listeners.on_message)
    return Run(out, config, ranks, listeners, model, mould, data, frozen, optimizer, loss, beside, identity, watch)


def first_encoder(pairs: Sequence[Pair], config: TrainConfig) -> DualEncoder:
    """The encoder that a run begins with: `config.encoder`, or a small one with random weights from torch's generator.

    Raises MissingModel and BadRequest where there is none of that name.
    """
    if config.seen_by:
        return seen_by.first_encoder(config)
    if config.encoder:
        encoder = load_encoder(config.encoder)
        encoder.use_frames(frames_spec(config))
        encoder.forget_fingerprint()
        return encoder
    captions = [pair.caption for pair in pairs]
    views = config.views if mirrors(config.flip, captions) else min(config.views, 2)  # no mirror images in training
    bias = -10.0 if config.loss == "sigmoid" else None
    return new_encoder(config, captions, logit_scale=config.logit_scale, logit_bias=bias, views=views)


def require_still(config: TrainConfig, changes: str) -> None:
    """Raise BadRequest where something is computed of all features at once, and a setting changes them in each pass."""
    of_features = [f"{name}={getattr(config, name)}" for name in ("closed_form", "prior") if getattr(config, name)]
    if of_features and changes:
        without = " ".join(f"--set {one.partition('=')[0]}=" for one in of_features)
        raise BadRequest(
            f"{of_features[0]} is of towers that are asked once, and {changes} has them asked in each pass: leave it "
            f"out, or add {without}"
        )


def begin_with(closed_form: str, model: DualEncoder, data: TrainingSet) -> None:
    """Put a closed form into the heads, of a FeatureSet."""
    closed_forms.fill(model, closed_form, _features_of(data))


def known_before(model: DualEncoder, data: TrainingSet, config: TrainConfig, say: OnMessage) -> Beside:
    """What `config.prior` knows of a FeatureSet, and its share. Raises BadRequest where it knows other towers."""
    priors = bridging.priors_for(model)
    seen = _features_of(data)
    share = sharing.best_share(seen, sharing.Known(*priors.rows(seen.images, seen.texts)), config.dim, config.seed)
    why = "by pairs held out" if len(seen) >= sharing.LEAST else "since of so few pairs none can be held out"
    say(f"{config.prior} goes beside what is learned with a share of {share:.0%}, {why}")
    return Beside(priors, share)


def _features_of(data: TrainingSet) -> Seen:
    assert isinstance(data, FeatureSet) and data.pixels is not None, "require_still was asked"
    return Seen.of(data.pixels, data.tokens)


def loss_of(config: TrainConfig, ranks: Ranks = ALONE) -> Loss:
    """The loss of a batch, over all processes: called with the features of this one's rows alone."""
    options: dict[str, Any] = {"label_smoothing": config.label_smoothing} if config.label_smoothing else {}
    plain = config.duplicates == "negative" and not config.teacher
    if ranks.size > 1 and plain:
        return ring.spread(config.loss, ranks, **options)
    if config.duplicates != "negative":
        options["same"] = config.duplicates
    if config.teacher:
        options["teacher_share"] = config.teacher_share
    named: Callable[..., Tensor] = LOSSES[config.loss]
    loss = functools.partial(named, budget=config.loss_budget_mb * 2**20, **options)
    return loss if ranks.size == 1 else ring.gathered(loss, ranks)


def _choose_what_is_trained(model: DualEncoder, config: TrainConfig) -> None:
    place_dropout(model, config.patch_dropout)
    trainable.choose(model, dataclasses.replace(config, freeze="text") if config.seen_by else config)
    if not trainable.keeps_languages(model):
        model.languages = ()
    trainable.train_mode(model)


def _place(model: DualEncoder, config: TrainConfig, ranks: Ranks, listeners: Listeners) -> sharding.Mould | None:
    """Bring the model to its device, or this process's share of it; whole ones then come from the mould."""
    if config.shard and ranks.size == 1:
        listeners.on_message(
            "shard=yes does nothing in one process: torchrun --nproc-per-node 2 --no-python mmr train ..."
        )
    shares = config.shard and ranks.size > 1
    if not shares:
        model.to(ranks.device)
    ranks.same_start([*model.parameters(), *model.buffers()])
    if not shares:
        return None
    mould = sharding.Mould(model)
    sharding.cut(model, ranks)
    return mould


def _lower_precision(model: DualEncoder, config: TrainConfig, device: torch.device) -> None:
    """Put the towers' bodies in the type they compute in."""
    for tower in (model.image_tower, model.text_tower):
        body = tower.get_submodule("body")
        body.to(engine.resolve_precision(config.precision, device))
        engine.compile_body(body, config.compile, device)
