"""train(): the one loop. Pairs in, a run folder with a trained encoder out.

    train(open_pairs("pairs.csv"), "runs/mine", recipes.from_scratch(...))

The run folder holds config.json (the TrainConfig), log.jsonl (a line every few steps), checkpoints/ and, at the end,
the encoder (encoder.py). Stopped or killed, `resume=True` goes on bit for bit on the CPU: a step's batch and its
dropout depend on (seed, step) alone, and a checkpoint holds the rest.
"""

import dataclasses
import functools
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from indexes import durable
from retrieval import checkpoints, dropout, engine, lora, partial
from retrieval.batches import Batch, TrainingSet
from retrieval.config import TrainConfig
from retrieval.datatypes import Features, Pair
from retrieval.encoder import DualEncoder, load_encoder, small_encoder
from retrieval.errors import BadRequest
from retrieval.losses import LOSSES
from retrieval.optimizer import Optimizer
from retrieval.step import backward

LOG_EVERY = 10  # steps


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is. chance: the loss of an encoder that knows nothing, ln(batch size). metrics: of an evaluation."""

    step: int
    steps: int
    loss: float
    chance: float
    lr: float
    logit_scale: float
    pairs_per_second: float
    metrics: dict[str, float] | None = None


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What came of it. finished is False where `should_stop` ended the run; skipped: (uri, reason) of bad pictures."""

    encoder: DualEncoder
    steps: int
    finished: bool
    skipped: list[tuple[str, str]]
    metrics: dict[str, float] | None


def train(
    pairs: Sequence[Pair], out: Path | str, config: TrainConfig, *, resume: bool = False,
    on_eval: Callable[[DualEncoder], dict[str, float]] | None = None,
    on_decode: Callable[[int, int], None] = lambda done, total: None,
    on_step: Callable[[Progress], None] = lambda progress: None,
    on_message: Callable[[str], None] = lambda text: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainResult:  # fmt: skip
    """Train an encoder on pairs and save it in `out`.

    on_eval: gives metrics of an encoder, called `config.evaluations` times. on_decode(done, total), on_step(Progress)
    and on_message(line) are for people to watch. should_stop: asked after each step; True ends the run with a
    checkpoint. Raises BadRequest, MissingModel, and OSError where the disk fails.
    """
    out = Path(out)
    _check(out, resume)
    device = engine.resolve_device(config.device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # ---------------------------------------------------------------- what is trained, on what
        torch.manual_seed(config.seed)
        model = _new_encoder(pairs, config).to(device)
        base = model.fingerprint if config.encoder else ""
        dropout.place_dropout(model, config.patch_dropout)
        partial.choose(model, config)
        partial.train_mode(model)
        data = TrainingSet(pairs, model, config, on_decode)
        frozen = partial.Frozen(model)
        for tower in (model.image_tower, model.text_tower):
            tower.body.to(engine.resolve_precision(config.precision, device))
        if not resume:
            out.mkdir(parents=True, exist_ok=True)
            durable.write_bytes(out / "config.json", json.dumps(dataclasses.asdict(config), indent=2).encode())
        optimizer = Optimizer(model, config, data.steps)
        identity = {"settings": dataclasses.asdict(config), "data": _digest(pairs), "encoder": base}

        # ---------------------------------------------------------------- where it goes on
        done = 0
        last = checkpoints.load_last(out, identity) if resume else None
        if last:
            done, tensors = last
            optimizer.load_state(tensors)
            on_message(f"resumed at step {done} of {data.steps}")
        log = _Log(out / "log.jsonl", done)

        # ---------------------------------------------------------------- the loop
        watch = _Watch(data, on_message)
        evaluate_at = _evenly(config.evaluations if on_eval else 0, data.steps)
        checkpoint_at = _evenly(config.checkpoints, data.steps)
        finished, metrics = True, None
        started, first = time.perf_counter(), done
        for batch in data.batches(done):
            value, features = _step(model, optimizer, batch, config, done)
            done += 1
            watch(done, value, features)
            if done in evaluate_at:
                metrics = _evaluate(model, optimizer, on_eval)
            speed = (done - first) * data.batch_size / (time.perf_counter() - started)
            progress = Progress(
                done, data.steps, value, math.log(data.batch_size), optimizer.learning_rate(done - 1),
                features.logit_scale.item(), speed, metrics if done in evaluate_at else None,
            )  # fmt: skip
            log.write(progress)
            on_step(progress)
            stop = done < data.steps and should_stop()
            if stop or (done in checkpoint_at and done < data.steps):
                checkpoints.save(out, done, optimizer.state(), identity)
            if stop:
                finished = False
                break

    # ---------------------------------------------------------------- what is kept
    encoder = _finish(model, optimizer, frozen)
    if finished:
        encoder.save(out)
    return TrainResult(encoder, done, finished, data.skipped, metrics)


def _check(out: Path, resume: bool) -> None:
    """An existing run is only touched to resume it, and nothing else is ever written over."""
    is_run = (out / "config.json").is_file()
    if out.exists() and not out.is_dir():
        raise BadRequest(f"{out} is a file: give another --out")
    if resume and not is_run:
        raise BadRequest(f"{out} holds no run to resume: leave out --resume")
    if not resume and is_run:
        raise BadRequest(f"{out} holds a run already: go on with --resume, or give another --out")
    if not resume and out.is_dir() and any(out.iterdir()):
        raise BadRequest(f"{out} is not empty: give another --out")


def config_of(run: Path | str) -> TrainConfig:
    """The TrainConfig a run folder was started with. Raises BadRequest where there is none."""
    try:
        return TrainConfig(**json.loads((Path(run) / "config.json").read_text()))
    except FileNotFoundError:
        raise BadRequest(f"{run} holds no run to resume: leave out --resume") from None
    except (ValueError, TypeError) as error:
        raise BadRequest(f"{run}/config.json cannot be used ({error}): give another --out") from error


def _new_encoder(pairs: Sequence[Pair], config: TrainConfig) -> DualEncoder:
    if config.encoder:
        encoder = load_encoder(config.encoder)
        encoder.forget_fingerprint()
        return encoder
    return small_encoder(
        [pair.caption for pair in pairs], dim=config.dim, image_size=config.image_size, resize=config.resize,
        image={"width": config.image_width, "patch": config.image_patch, "dropout": config.dropout},
        text={"width": config.text_width, "layers": config.text_layers, "dropout": config.dropout},
        vocabulary=config.vocabulary, context=config.context, logit_scale=config.logit_scale,
        logit_bias=-10.0 if config.loss == "sigmoid" else None,
    )  # fmt: skip


# ---------------------------------------------------------------- one step


def _step(
    model: DualEncoder, optimizer: Optimizer, batch: Batch, config: TrainConfig, step: int
) -> tuple[float, Features]:
    seed = config.seed * 1_000_003 + step
    torch.manual_seed(seed)  # for modules that draw from torch's own generator
    loss = LOSSES[config.loss]
    if config.label_smoothing:
        loss = functools.partial(loss, label_smoothing=config.label_smoothing)
    features, value = backward(model, batch, loss, config.micro_batch_size, seed, optimizer.collect)
    if not math.isfinite(value):
        raise BadRequest(
            f"the loss is {value} at step {step}: lower the learning rate with --set lr={config.lr / 3:.1g}"
        )
    optimizer.step(step)
    return value, features


# ---------------------------------------------------------------- beside the loop


def _evaluate(model: DualEncoder, optimizer: Optimizer, on_eval: Callable) -> dict[str, float]:
    with optimizer.averaged():
        metrics = on_eval(model)
    partial.train_mode(model)
    return metrics


def _finish(model: DualEncoder, optimizer: Optimizer, frozen: partial.Frozen) -> DualEncoder:
    """The encoder in float32, with the weights to keep."""
    weights = optimizer.final_weights()
    model.float()
    frozen.restore(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in weights:
                parameter.copy_(weights[name])
    lora.merge(model)
    model.forget_fingerprint()
    return model.eval()


def _evenly(times: int, steps: int) -> set[int]:
    """`times` steps spread over the run, the last one among them."""
    return {max(1, round(steps * (i + 1) / times)) for i in range(times)}


def _digest(pairs: Sequence[Pair]) -> str:
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(f"{pair.item.id}\0{pair.caption}\0".encode())
    return digest.hexdigest()[:16]


class _Log:
    """log.jsonl: a line every LOG_EVERY steps and at every evaluation. Resumed, later lines are dropped."""

    def __init__(self, file: Path, done: int) -> None:
        self._file = file
        lines = file.read_text().splitlines() if file.is_file() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= done]
        file.write_text("".join(f"{line}\n" for line in kept))

    def write(self, progress: Progress) -> None:
        if progress.metrics or progress.step % LOG_EVERY == 0 or progress.step == progress.steps:
            line = {key: value for key, value in dataclasses.asdict(progress).items() if value is not None}
            with self._file.open("a") as file:
                file.write(json.dumps(line) + "\n")


class _Watch:
    """Says so, once, when the towers collapse: all pictures, or all captions, on nearly one point."""

    def __init__(self, data: TrainingSet, say: Callable[[str], None]) -> None:
        self._say, self._from = say, max(20, data.steps // 10)
        self._said = False

    def __call__(self, step: int, loss: float, features: Features) -> None:
        if self._said or step < self._from or step % LOG_EVERY:
            return
        alike = {
            side: _mean_similarity(part) for side, part in (("pictures", features.image), ("captions", features.text))
        }
        if loss > 0.98 * math.log(len(features.image)) and max(alike.values()) > 0.9:
            worst = max(alike, key=alike.get)
            self._say(
                f"the towers have collapsed at step {step}: {worst} have a mean cosine of {alike[worst]:.2f} "
                f"and the loss is at chance; lower the learning rate, or check that captions belong to their pictures"
            )
            self._said = True


def _mean_similarity(rows: torch.Tensor) -> float:
    """The mean cosine between different rows: (|sum|^2 - n) / (n (n - 1))."""
    count = len(rows)
    return (rows.float().sum(0).square().sum().item() - count) / max(1, count * (count - 1))
