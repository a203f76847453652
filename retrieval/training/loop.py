"""train(): the one loop. Pairs in, a run folder with a trained encoder out.

    train(open_pairs("pairs.csv"), "runs/mine", recipes.from_scratch(...))

The run folder holds config.json (the TrainConfig), log.jsonl (a line every few steps), checkpoints/ and, at the end,
curves.png and the encoder. Stopped or killed, `resume=True` goes on bit for bit on the CPU: a step's batch and its
dropout depend on (seed, step) alone, and a checkpoint holds the rest. Under torchrun every process calls train() alike
(training/distributed/ranks.py). What a run is made of is built in setup.py, before its first step.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import torch

from retrieval.callbacks import OnMessage, OnProgress, no_message, no_progress
from retrieval.datatypes import Features, Pair
from retrieval.encoders.encoder import DualEncoder
from retrieval.errors import BadRequest
from retrieval.training import checkpoints, curves, generations, health, run_folder, trainable
from retrieval.training.config import TrainConfig
from retrieval.training.dataset import Batch
from retrieval.training.distributed import sharding
from retrieval.training.distributed.ranks import is_first, join
from retrieval.training.early_stopping import Evaluations
from retrieval.training.log import Journal, Progress
from retrieval.training.result import TrainResult, encoder_with
from retrieval.training.run_folder import config_of
from retrieval.training.setup import Listeners, Run, set_up
from retrieval.training.step import backward

__all__ = ["Progress", "TrainResult", "config_of", "train"]


def train(
    pairs: Sequence[Pair], out: Path | str, config: TrainConfig, *, resume: bool = False,
    on_eval: Callable[[DualEncoder], dict[str, float]] | None = None,
    on_decode: OnProgress = no_progress,
    on_step: Callable[[Progress], None] = lambda progress: None,
    on_message: OnMessage = no_message,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainResult:  # fmt: skip
    """Train an encoder on pairs of pictures and captions, and save it in a run folder.

    Args:
        pairs: What is learned from, as `open_pairs` gives it. Several pairs may share a picture.
        out: The run folder to make; with `resume`, the one to go on with.
        config: Every setting of the run; recipes are functions that return one. With `generations=2` or more, each is
            trained in turn, in `out/generation-1` and so on, and teaches the next; `out` itself gets the last.
        resume: Go on with the run in `out` from its last checkpoint, with the same pairs and config.
        on_eval: Gives metrics of an encoder, as {"text_to_image_recall@10": 0.5, ...}. Called `config.evaluations`
            times during the run, and before the first step where an encoder is fine-tuned.
        on_decode: Told (done, total) while pictures are read before the first step.
        on_step: Told the Progress after each step.
        on_message: Told a line whenever there is something for people to know.
        should_stop: Asked after each step; True ends the run with a checkpoint.

    Returns:
        The encoder that was kept, with what is known of it.

    Raises:
        BadRequest: A setting, the pairs or the folder cannot be used; the message ends with what to do.
        MissingModel: `config.encoder` or a teacher is not to be had.
        OSError: The disk fails or is full.

    Examples:
        >>> pairs = open_pairs("picturebook:32?size=32")
        >>> train(pairs, "runs/first", recipes.smoke()).finished
        True
    """
    listeners = Listeners(on_eval, on_decode, on_step, on_message)
    if is_first() and not curves.can_draw():
        on_message(curves.MISSING)

    def train_one(folder: Path, settings: TrainConfig, goes_on: bool) -> TrainResult:
        return _train_one(pairs, folder, settings, goes_on, listeners, should_stop)

    return generations.in_turn(train_one, Path(out), config, resume)


def _train_one(
    pairs: Sequence[Pair], out: Path, config: TrainConfig, resume: bool, listeners: Listeners,
    should_stop: Callable[[], bool],
) -> TrainResult:  # fmt: skip
    """One generation, from its set-up to what is kept of it."""
    with join(config.device) as ranks:
        ranks.from_first(lambda: run_folder.check(out, resume))
        if resume:
            run_folder.require_places(out, config)
        with torch.random.fork_rng(devices=[ranks.device] if ranks.device.type == "cuda" else []):
            run = set_up(pairs, out, config, ranks, listeners.silenced() if ranks.rank else listeners)
            course = _Course(run, resume)
            with closing(course.journal):
                finished = course.steps(should_stop)
            return course.result(finished)


class _Course:
    """A run on its way. `done` counts the steps; beside it only what the run itself owns changes."""

    def __init__(self, run: Run, resume: bool) -> None:
        last = checkpoints.load_last(run.out, run.identity) if resume else None
        self.run = run
        self.done = last.step if last else 0
        self.best = Evaluations(run.config, last.evaluations if last else None)
        if last:
            run.optimizer.load_state(last.tensors)
            run.listeners.on_message(f"resumed at step {self.done} of {run.data.steps}")
        write = run_folder.remember_places if resume else run_folder.make
        run.ranks.from_first(lambda: write(run.out, run.config))
        self.journal = Journal(run.out if run.is_first else None, self.done, run.config.tensorboard)

    # ---------------------------------------------------------------- the steps

    def steps(self, should_stop: Callable[[], bool]) -> bool:
        """All steps from here to the end; False where should_stop ended them. A fine-tune is measured before."""
        run, config = self.run, self.run.config
        evaluate_at = _evenly(config.evaluations if run.listeners.on_eval else 0, run.data.steps)
        checkpoint_at = _evenly(config.checkpoints, run.data.steps)
        if (config.encoder or not run.data.steps) and not self.done and evaluate_at:
            self._report(None, 0.0, run.model.log_logit_scale.exp().item(), self._evaluate())
        started, first = time.perf_counter(), self.done
        for batch in run.data.batches(self.done):
            loss, features = self._step(batch)
            self.done += 1
            run.watch(self.done, loss, features)
            metrics = self._evaluate() if self.done in evaluate_at else None
            speed = (self.done - first) * run.data.batch_size / (time.perf_counter() - started)
            self._report(loss, speed, features.logit_scale.item(), metrics)
            if self.best.is_over():
                self._say_enough()
                return True
            stop = self.done < run.data.steps and run.ranks.any(should_stop())
            if stop or (self.done in checkpoint_at and self.done < run.data.steps):
                self._checkpoint()
            if stop:
                return False
        return True

    def _step(self, batch: Batch) -> tuple[float, Features]:
        """One update of the weights. Raises BadRequest where the loss is no number any more."""
        run, config = self.run, self.run.config
        seed = config.seed * 1_000_003 + self.done
        # For modules that draw from torch's own generator: each process something else.
        torch.manual_seed(seed + run.ranks.rank * 7_368_787)
        features, value = backward(
            run.model, batch, run.loss, config.micro_batch_size, seed, run.optimizer.collect, config.caption_weight
        )
        value = run.ranks.mean(value)
        if not math.isfinite(value):
            lower = config.lr / 3
            raise BadRequest(
                f"the loss is {value} at step {self.done}: lower the learning rate with --set lr={lower:.1g}"
            )
        run.ranks.average(run.optimizer.gradients())
        run.optimizer.step(self.done)
        run.ranks.average(run.optimizer.statistics())
        return value, features

    def _report(self, loss: float | None, speed: float, scale: float, metrics: dict[str, float] | None) -> None:
        run = self.run
        chance = health.chance(run.config.loss, run.data.batch_size)
        rate = run.optimizer.learning_rate(max(0, self.done - 1))
        progress = Progress(
            self.done, run.data.steps, loss, chance, rate, scale, speed, metrics, run.data.share_of(self.done)
        )  # fmt: skip
        self.journal.write(progress)
        if metrics and run.is_first:
            curves.draw(run.out)
        run.listeners.on_step(progress)

    def _say_enough(self) -> None:
        self.run.listeners.on_message(
            f"stopped at step {self.done} of {self.run.data.steps}: {self.run.config.patience} evaluations in a row "
            f"brought nothing better than step {self.best.step}"
        )

    # ---------------------------------------------------------------- what is measured, and kept on the way

    def _evaluate(self) -> dict[str, float]:
        """Metrics of the averaged weights, measured by the first process and known to all; the best ones are kept."""
        run = self.run
        with run.optimizer.averaged():
            encoder = self._whole_encoder()
            metrics = run.ranks.from_first(lambda: self._measured(encoder))
        trainable.train_mode(run.model)
        if self.best.add(self.done, metrics) and run.config.keep == "best":
            weights = sharding.whole(run.optimizer.final_weights(), "cpu", run.is_first)
            if run.is_first:
                checkpoints.save_best(run.out, self.done, weights)
        return metrics

    def _whole_encoder(self) -> DualEncoder | None:
        """The encoder as it is now, to be looked at by the first process."""
        run = self.run
        if run.mould:
            return run.mould.fill(run.model, run.ranks.device, run.is_first)
        encoder = run.finished(run.model)
        encoder.forget_fingerprint()
        return encoder

    def _measured(self, encoder: DualEncoder | None) -> dict[str, float]:
        assert encoder is not None  # the first process has it
        assert self.run.listeners.on_eval is not None  # without it no step is one to evaluate at
        return self.run.listeners.on_eval(encoder)

    def _checkpoint(self) -> None:
        run = self.run
        manifest = {**run.identity, "evaluations": self.best.history}
        tensors = sharding.whole(run.optimizer.state(), "cpu", run.is_first)
        run.ranks.from_first(lambda: checkpoints.save(run.out, self.done, tensors, manifest))

    # ---------------------------------------------------------------- what is kept in the end

    def result(self, finished: bool) -> TrainResult:
        """The encoder, saved where the run is finished."""
        run = self.run
        kept, weights = self.done, run.optimizer.final_weights()
        best = self.best.step if finished and run.config.keep == "best" else None
        if best is not None and best != self.done:
            weights = checkpoints.load_best(run.out, best) or weights
            kept = best
            run.listeners.on_message(f"kept step {best}, whose {run.config.measure} is the best, not the last")
        encoder = run.finished(encoder_with(run.model, weights, run.frozen, run.mould))
        if finished:
            run.ranks.from_first(lambda: self._save(encoder))
            encoder.name = str(run.out)  # an index that it makes finds it again
        return TrainResult(
            encoder, self.done, finished, run.data.skipped, self.best.metrics_at(kept), kept, self.best.before
        )

    def _save(self, encoder: DualEncoder) -> None:
        curves.draw(self.run.out)
        encoder.save(self.run.out)


def _evenly(times: int, steps: int) -> set[int]:
    """`times` steps spread over the run, the last one among them."""
    return {max(1, round(steps * (i + 1) / times)) for i in range(times)}
