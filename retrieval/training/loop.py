"""train(): the one loop. Pairs in, a run folder with a trained encoder out.

    train(open_pairs("pairs.csv"), "runs/mine", recipes.from_scratch(...))

The run folder holds config.json (the TrainConfig), log.jsonl (a line every few steps), checkpoints/ and, at the end,
curves.png and the encoder. Stopped or killed, `resume=True` goes on bit for bit on the CPU: a step's batch and its
dropout depend on (seed, step) alone, and a checkpoint holds the rest. Under torchrun every process calls train() alike
(training/distributed/ranks.py).
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from retrieval import engine
from retrieval.datatypes import Features, Pair
from retrieval.encoders.build import small_encoder
from retrieval.encoders.config import frames_spec, image_spec, text_spec
from retrieval.encoders.encoder import DualEncoder
from retrieval.encoders.load import load_encoder
from retrieval.errors import BadRequest
from retrieval.losses.contrastive import LOSSES, Loss
from retrieval.training import checkpoints, curves, health, lora, run_folder, trainable
from retrieval.training.config import TrainConfig
from retrieval.training.dataset import Batch, TrainingSet, mirrors
from retrieval.training.distributed import ring, sharding
from retrieval.training.distributed.ranks import ALONE, Ranks, join
from retrieval.training.dropout import place_dropout
from retrieval.training.early_stopping import Evaluations
from retrieval.training.log import Journal, Progress, require_tensorboard
from retrieval.training.optimizer import Optimizer
from retrieval.training.run_folder import config_of
from retrieval.training.step import backward
from retrieval.training.teacher import load_teachers

__all__ = ["Progress", "TrainResult", "config_of", "train"]


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What came of it. finished is False where `should_stop` ended the run; skipped: (uri, reason) of bad pictures.

    metrics: of the weights that were kept, which are those of step `kept`. before: of the encoder that a fine-tune
    began with.
    """

    encoder: DualEncoder
    steps: int
    finished: bool
    skipped: list[tuple[str, str]]
    metrics: dict[str, float] | None
    kept: int
    before: dict[str, float] | None = None


@dataclass(frozen=True, slots=True)
class _Listeners:
    """Those who watch a run; in all processes but the first nobody does."""

    on_eval: Callable[[DualEncoder], dict[str, float]] | None
    on_decode: Callable[[int, int], None]
    on_step: Callable[[Progress], None]
    on_message: Callable[[str], None]


def train(
    pairs: Sequence[Pair], out: Path | str, config: TrainConfig, *, resume: bool = False,
    on_eval: Callable[[DualEncoder], dict[str, float]] | None = None,
    on_decode: Callable[[int, int], None] = lambda done, total: None,
    on_step: Callable[[Progress], None] = lambda progress: None,
    on_message: Callable[[str], None] = lambda text: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainResult:  # fmt: skip
    """Train an encoder on pairs and save it in `out`.

    on_eval: gives metrics of an encoder, called `config.evaluations` times, and before the first step of a fine-tune.
    on_decode(done, total), on_step(Progress) and on_message(line) are for people to watch. should_stop: asked after
    each step; True ends the run with a checkpoint. Raises BadRequest, MissingModel, and OSError where the disk fails.
    It is one generation, whatever `config.generations` says: generations.train_all trains them all.
    """
    with join(config.device) as ranks:
        ranks.from_first(lambda: run_folder.check(Path(out), resume))
        listeners = _Listeners(on_eval, on_decode, on_step, on_message)
        if ranks.rank:
            listeners = _Listeners(on_eval, lambda d, t: None, lambda p: None, lambda t: None)
        with torch.random.fork_rng(devices=[ranks.device] if ranks.device.type == "cuda" else []):
            run = _Run(pairs, Path(out), config, ranks, listeners)
            run.start(resume)
            try:
                finished = run.loop(should_stop)
            finally:
                run.journal.close()
            return run.result(finished)


class _Run:
    """One training, from its first weights to what is kept."""

    def __init__(
        self, pairs: Sequence[Pair], out: Path, config: TrainConfig, ranks: Ranks, listeners: _Listeners
    ) -> None:
        self.out, self.config, self.ranks, self.listeners = out, config, ranks, listeners
        self.is_first = ranks.rank == 0
        if config.tensorboard:
            require_tensorboard()
        torch.manual_seed(config.seed)
        self.model = _new_encoder(pairs, config)
        base = self.model.fingerprint if config.encoder else ""
        teachers = load_teachers(config.teacher, ranks.device.type, config.precision)
        self._choose_what_is_trained()
        self.data = TrainingSet(pairs, self.model, config, listeners.on_decode, ranks.size, ranks.rank, teachers)
        ranks.part(self.data.batch_size)
        self._lower_precision()
        self.optimizer = Optimizer(self.model, config, self.data.steps)
        self.loss = _loss(config, ranks)
        self.identity = {
            "settings": dataclasses.asdict(config), "data": run_folder.digest(pairs), "encoder": base,
            "teacher": ",".join(teacher.fingerprint for teacher in teachers), "order": self.data.order.fingerprint,
        }  # fmt: skip
        self.watch = health.HealthWatch(config, self.data.batch_size, self.data.steps, listeners.on_message)
        if config.duplicates == "negative":
            health.say_repeated(pairs, self.data.batch_size, listeners.on_message)
        self.done = 0

    def _choose_what_is_trained(self) -> None:
        place_dropout(self.model, self.config.patch_dropout)
        trainable.choose(self.model, self.config)
        trainable.train_mode(self.model)
        self._share_out()

    def _share_out(self) -> None:
        """Bring the model to its device, or this process's share of it; whole ones then come from the mould."""
        self.mould = None
        shares = self.config.shard
        if shares and self.ranks.size == 1:
            self.listeners.on_message(
                "shard=yes does nothing in one process: torchrun --nproc-per-node 2 --no-python mmr train ..."
            )
        if not shares or self.ranks.size == 1:
            self.model.to(self.ranks.device)
        self.ranks.same_start([*self.model.parameters(), *self.model.buffers()])
        if shares and self.ranks.size > 1:
            self.mould = sharding.Mould(self.model)
            sharding.cut(self.model, self.ranks)

    def _lower_precision(self) -> None:
        """Put the towers' bodies in the type they compute in; what is frozen is kept as it was."""
        self.frozen = trainable.Frozen(self.model)
        for tower in (self.model.image_tower, self.model.text_tower):
            tower.body.to(engine.resolve_precision(self.config.precision, self.ranks.device))
            engine.compile_body(tower.body, self.config.compile, self.ranks.device)

    # ---------------------------------------------------------------- where it goes on

    def start(self, resume: bool) -> None:
        """At the last checkpoint, or at the beginning; a fine-tune is measured before it."""
        last = checkpoints.load_last(self.out, self.identity) if resume else None
        manifest, tensors = last or ({"step": 0, "evaluations": []}, None)
        self.done = manifest["step"]
        self.best = Evaluations(self.config, manifest["evaluations"])
        if tensors:
            self.optimizer.load_state(tensors)
            self.listeners.on_message(f"resumed at step {self.done} of {self.data.steps}")
        self.ranks.from_first(lambda: None if resume else run_folder.make(self.out, self.config))
        self.journal = Journal(None if self.ranks.rank else self.out, self.done, self.config.tensorboard)
        if self.config.encoder and not self.done and self.config.evaluations and self.listeners.on_eval:
            self._report(None, 0.0, self.model.log_logit_scale.exp().item(), self._evaluate())

    # ---------------------------------------------------------------- the loop

    def loop(self, should_stop: Callable[[], bool]) -> bool:
        """All steps from here to the end; False where should_stop ended it."""
        evaluate_at = _evenly(self.config.evaluations if self.listeners.on_eval else 0, self.data.steps)
        checkpoint_at = _evenly(self.config.checkpoints, self.data.steps)
        started, first = time.perf_counter(), self.done
        for batch in self.data.batches(self.done):
            value, features = self._step(batch)
            self.done += 1
            self.watch(self.done, value, features)
            metrics = self._evaluate() if self.done in evaluate_at else None
            speed = (self.done - first) * self.data.batch_size / (time.perf_counter() - started)
            self._report(value, speed, features.logit_scale.item(), metrics)
            if self.best.is_over():
                self._say_enough()
                return True
            stop = self.done < self.data.steps and self.ranks.any(should_stop())
            if stop or (self.done in checkpoint_at and self.done < self.data.steps):
                self._checkpoint()
            if stop:
                return False
        return True

    def _step(self, batch: Batch) -> tuple[float, Features]:
        seed = self.config.seed * 1_000_003 + self.done
        # For modules that draw from torch's own generator: each process something else.
        torch.manual_seed(seed + self.ranks.rank * 7_368_787)
        collect = self.optimizer.collect
        features, value = backward(
            self.model, batch, self.loss, self.config.micro_batch_size, seed, collect, self.config.caption_weight
        )
        value = self.ranks.mean(value)
        if not math.isfinite(value):
            lower = self.config.lr / 3
            raise BadRequest(
                f"the loss is {value} at step {self.done}: lower the learning rate with --set lr={lower:.1g}"
            )
        self.ranks.average(self.optimizer.gradients())
        self.optimizer.step(self.done)
        self.ranks.average(self.optimizer.statistics())
        return value, features

    def _report(self, loss: float | None, speed: float, scale: float, metrics: dict[str, float] | None) -> None:
        chance = health.chance(self.config.loss, self.data.batch_size)
        rate = self.optimizer.learning_rate(max(0, self.done - 1))
        progress = Progress(
            self.done, self.data.steps, loss, chance, rate, scale, speed, metrics, self.data.share_of(self.done)
        )  # fmt: skip
        self.journal.write(progress)
        if metrics and not self.ranks.rank:
            curves.draw(self.out)
        self.listeners.on_step(progress)

    def _evaluate(self) -> dict[str, float] | None:
        """Metrics of the averaged weights, measured by the first process and known to all; the best ones are kept."""
        if not self.listeners.on_eval:
            return None
        with self.optimizer.averaged():
            encoder = self._whole_encoder()
            metrics = self.ranks.from_first(lambda: self.listeners.on_eval(encoder))
        trainable.train_mode(self.model)
        if self.best.add(self.done, metrics) and self.config.keep == "best":
            weights = sharding.whole(self.optimizer.final_weights(), "cpu", self.is_first)
            if self.is_first:
                checkpoints.save_best(self.out, self.done, weights)
        return metrics

    def _whole_encoder(self) -> DualEncoder | None:
        """The encoder as it is now, to be looked at by the first process."""
        if self.mould:
            return self.mould.fill(self.model, self.ranks.device, self.is_first)
        self.model.forget_fingerprint()
        return self.model

    def _say_enough(self) -> None:
        self.listeners.on_message(
            f"stopped at step {self.done} of {self.data.steps}: {self.config.patience} evaluations in a row brought "
            f"nothing better than step {self.best.step}"
        )

    def _checkpoint(self) -> None:
        manifest = {**self.identity, "evaluations": self.best.history}
        tensors = sharding.whole(self.optimizer.state(), "cpu", self.is_first)
        self.ranks.from_first(lambda: checkpoints.save(self.out, self.done, tensors, manifest))

    # ---------------------------------------------------------------- what is kept

    def result(self, finished: bool) -> TrainResult:
        """The encoder, saved where the run is finished."""
        kept, weights = self.done, self.optimizer.final_weights()
        best = self.best.step if finished and self.config.keep == "best" else None
        if best is not None and best != self.done:
            weights = checkpoints.load_best(self.out, best) or weights
            kept = best
            self.listeners.on_message(f"kept step {best}, whose {self.config.measure} is the best, not the last")
        encoder = _finish(self.model, weights, self.frozen, self.mould)
        if finished:
            self.ranks.from_first(lambda: self._save(encoder))
        metrics = self.best.metrics_at(kept)
        return TrainResult(encoder, self.done, finished, self.data.skipped, metrics, kept, self.best.before)

    def _save(self, encoder: DualEncoder) -> None:
        curves.draw(self.out)
        encoder.save(self.out)


def _new_encoder(pairs: Sequence[Pair], config: TrainConfig) -> DualEncoder:
    if config.encoder:
        encoder = load_encoder(config.encoder)
        encoder.use_frames(frames_spec(config))
        encoder.forget_fingerprint()
        return encoder
    captions = [pair.caption for pair in pairs]
    views = config.views if mirrors(config.flip, captions) else min(config.views, 2)  # no mirror images in training
    return small_encoder(
        captions, dim=config.dim, image_size=config.image_size, resize=config.resize,
        image=image_spec(config), text=text_spec(config), frames=frames_spec(config),
        vocabulary=config.vocabulary, context=config.context, logit_scale=config.logit_scale,
        logit_bias=-10.0 if config.loss == "sigmoid" else None, views=views,
    )  # fmt: skip


def _loss(config: TrainConfig, ranks: Ranks = ALONE) -> Loss:
    """The loss of a batch, over all processes."""
    options: dict = {"label_smoothing": config.label_smoothing} if config.label_smoothing else {}
    plain = config.duplicates == "negative" and not config.teacher
    if ranks.size > 1 and plain:
        return ring.spread(config.loss, ranks, **options)
    if config.duplicates != "negative":
        options["same"] = config.duplicates
    if config.teacher:
        options["teacher_share"] = config.teacher_share
    loss = functools.partial(LOSSES[config.loss], budget=config.loss_budget_mb * 2**20, **options)
    return loss if ranks.size == 1 else ring.gathered(loss, ranks)


def _finish(
    model: DualEncoder, weights: dict[str, torch.Tensor], frozen: trainable.Frozen, mould: sharding.Mould | None
) -> DualEncoder:
    """The encoder in float32, with these weights and what was frozen as it was; on the CPU where it was sharded."""
    model.float()
    frozen.restore(model)
    with torch.no_grad():
        now = model.state_dict()
        for name, tensor in weights.items():
            now[name].copy_(sharding.share_like(now[name], tensor))
    model = mould.fill(model, "cpu") if mould else model
    lora.merge(model)
    model.forget_fingerprint()
    return model.eval()


def _evenly(times: int, steps: int) -> set[int]:
    """`times` steps spread over the run, the last one among them."""
    return {max(1, round(steps * (i + 1) / times)) for i in range(times)}
