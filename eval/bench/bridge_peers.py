"""What bridge.py measures us beside: two trainers of other hands, run by the peers' python with a task as JSON.

    python bridge_peers.py sentence_transformers|open_clip_lit '{"towers": ..., "pairs": ..., "held_out": ..., ...}'

Each learns from pairs.csv (image, caption) until the seconds are over, which count from the start of its process, and
then writes the vectors of held_out.csv's pictures and captions as they are in this moment. What is the peer's own code
and what is not:

sentence_transformers   its SentenceTransformer, Router, Dense and Dropout, its MultipleNegativesRankingLoss, its
                        trainer and sampler of batches without duplicates. Ours: `Frozen`, which asks a tower once of
                        each input and remembers the answer; without that it would get through a few passes only.
open_clip_lit           its model (a timm trunk, a text encoder of the hub's format), data and loop, all of
                        open_clip_train.main with --lock-image --lock-text. Ours: the towers' weights as its checkpoint,
                        a hand on its model, so that what it has learned is known when the time is over, and the trunk
                        in eval mode (its own --lock-image-freeze-bn-stats takes the activations out of timm's trunks:
                        pictures then come out as zeros).
"""

import csv
import importlib
import json
import math
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

BATCH, RATE, SIZE, DIM, FEATURES, SENTENCE, CONTEXT = 128, 1e-3, 224, 512, 1280, 384, 64
ARCHITECTURE, NAME = "tf_efficientnet_lite2", "mmr-lit"
LEVEL = (0.5, 0.5, 0.5)  # the mean and the deviation that the image tower wants

_STARTED = time.monotonic()


class _Over(BaseException):
    """The time is."""


def until(seconds: float, learn: Callable[[], Any]) -> None:
    """Let something learn until so many seconds after the start of this process."""

    def stop(*_: object) -> None:
        raise _Over

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(0.1, seconds - (time.monotonic() - _STARTED)))
    try:
        learn()
    except _Over:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def rows(file: Path) -> list[tuple[str, str]]:
    """Pictures' paths and captions."""
    with file.open(newline="", encoding="utf-8") as opened:
        return [(row["image"], row["caption"]) for row in csv.DictReader(opened)]


def pixels(paths: list[str]) -> torch.Tensor:
    """Float (n, 3, s, s), squares of the whole pictures as the tower wants them."""
    shown = [Image.open(path).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC) for path in paths]
    return torch.from_numpy(np.stack([np.asarray(one) for one in shown])).permute(0, 3, 1, 2) / 127.5 - 1


def trunk(towers: Path) -> torch.nn.Module:
    """EfficientNet-Lite2 with the package's weights, without its classifier."""
    import timm

    model = timm.create_model(ARCHITECTURE, num_classes=0).eval()
    model.load_state_dict(torch.load(towers / "image.pt", weights_only=True))
    return model


# ---------------------------------------------------------------- sentence-transformers


def sentence_transformers(task: dict[str, Any]) -> Callable[[str, list[str]], np.ndarray]:
    """Heads on frozen towers by its trainer; gives what encodes "picture" or "text"."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.training_args import BatchSamplers

    model = _two_sides(Path(task["towers"]))
    arguments = SentenceTransformerTrainingArguments(
        output_dir=task["folder"], num_train_epochs=10_000, per_device_train_batch_size=BATCH, learning_rate=RATE,
        lr_scheduler_type="constant_with_warmup", warmup_steps=20, batch_sampler=BatchSamplers.NO_DUPLICATES,
        save_strategy="no", report_to="none", disable_tqdm=True, logging_steps=10_000, use_cpu=True,
        dataloader_pin_memory=False, router_mapping={"image": "picture", "caption": "text"},
    )  # fmt: skip
    pairs = rows(Path(task["pairs"]))
    data = Dataset.from_dict({"caption": [text for _, text in pairs], "image": [path for path, _ in pairs]})
    steps: list[int] = []

    def learn() -> None:
        trainer = SentenceTransformerTrainer(
            model=model, args=arguments, train_dataset=data, loss=MultipleNegativesRankingLoss(model)
        )
        try:
            trainer.train()
        finally:
            steps.append(trainer.state.global_step)

    until(task["seconds"], learn)
    sys.stderr.write(f"sentence-transformers: {sum(steps)} steps of {BATCH} pairs\n")
    model.eval()
    return lambda side, inputs: model.encode(inputs, task=side, batch_size=64, convert_to_numpy=True)


def _two_sides(towers: Path) -> Any:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import InputModule, Router
    from sentence_transformers.sentence_transformer.modules import Dense, Dropout, Normalize

    class Frozen(InputModule):
        """A tower that is asked once of each input."""

        def __init__(self, ask: Callable[[list[str]], torch.Tensor]) -> None:
            super().__init__()
            self.ask, self.known = ask, dict[str, torch.Tensor]()

        @torch.no_grad()
        def preprocess(self, inputs: Any, prompt: str | None = None, **more: Any) -> dict[str, torch.Tensor]:
            new = [text for text in dict.fromkeys(inputs) if text not in self.known]
            for start in range(0, len(new), 64):
                part = new[start : start + 64]
                self.known |= dict(zip(part, self.ask(part), strict=True))
            return {"sentence_embedding": torch.stack([self.known[text] for text in inputs])}

        def forward(self, features: dict[str, torch.Tensor], **more: Any) -> dict[str, torch.Tensor]:
            return features

        def save(self, *given: Any, **more: Any) -> None:
            """Nothing of it is learned."""

    body, sentences = trunk(towers), SentenceTransformer(str(towers / "text"), device="cpu")
    sides = {
        "picture": (FEATURES, lambda paths: body(pixels(paths))),
        "text": (SENTENCE, lambda texts: sentences.encode(texts, convert_to_tensor=True).cpu().clone()),
    }
    return SentenceTransformer(
        modules=[
            Router(
                {
                    side: [Frozen(ask), Dropout(0.5), Dense(width, DIM, activation_function=None)]
                    for side, (width, ask) in sides.items()
                },
                default_route="text",
            ),
            Normalize(),
        ],
        device="cpu",
    )  # fmt: skip


# ---------------------------------------------------------------- open_clip


def open_clip_lit(task: dict[str, Any]) -> Callable[[str, list[str]], np.ndarray]:
    """LiT by open_clip_train, on one caption of each picture a pass; gives what encodes "picture" or "text"."""
    import open_clip

    its: Any = importlib.import_module("open_clip_train.main")
    folder, towers = Path(task["folder"]), Path(task["towers"])
    (folder / f"{NAME}.json").write_text(json.dumps(_config(towers)), "utf-8")
    open_clip.add_model_config(folder / f"{NAME}.json")
    kept: list[Any] = []

    def made(*given: Any, **more: Any) -> Any:
        kept[:] = open_clip.create_model_and_transforms(*given, **more)
        still = kept[0].visual.trunk.eval()
        still.train = lambda mode=True: still
        return tuple(kept)

    its.create_model_and_transforms = made
    arguments = [
        "--model", NAME, "--pretrained", str(_checkpoint(folder, towers)), "--lock-image", "--lock-text",
        "--train-data", task["pairs"], "--dataset-type", "csv", "--csv-separator", ",",
        "--csv-img-key", "image", "--csv-caption-key", "caption", "--batch-size", str(BATCH), "--epochs", "10000",
        "--lr", str(RATE), "--lr-scheduler", "const", "--wd", "0.01", "--warmup", "2", "--workers", "1", "--precision",
        "fp32", "--logs", str(folder / "logs"), "--name", "peer", "--save-frequency", "0",
        "--image-mean", *map(str, LEVEL),
        "--image-std", *map(str, LEVEL),
    ]  # fmt: skip
    until(task["seconds"], lambda: its.main(arguments))
    model, tokenize = kept[0].eval(), open_clip.get_tokenizer(NAME)

    def encode(side: str, inputs: list[str]) -> np.ndarray:
        parts = [inputs[start : start + 64] for start in range(0, len(inputs), 64)]
        if side == "text":
            found = [model.encode_text(tokenize(part), normalize=True) for part in parts]
        else:
            found = [model.encode_image(pixels(part), normalize=True) for part in parts]
        return torch.cat(found).numpy()

    return encode


def _config(towers: Path) -> dict[str, Any]:
    return {
        "embed_dim": DIM,
        "vision_cfg": {
            "timm_model_name": ARCHITECTURE, "timm_model_pretrained": False, "timm_pool": "avg", "timm_proj": "linear",
            "image_size": SIZE,
        },
        "text_cfg": {
            "hf_model_name": str(towers / "text"), "hf_tokenizer_name": str(towers / "text"),
            "hf_proj_type": "linear", "hf_pooler_type": "mean_pooler", "context_length": CONTEXT,
        },
    }  # fmt: skip


def _checkpoint(folder: Path, towers: Path) -> Path:
    """Both towers' weights with new heads, as a file of its own."""
    import open_clip
    from transformers import AutoModel

    model = open_clip.create_model(NAME)
    model.visual.trunk.load_state_dict(trunk(towers).state_dict())
    text = AutoModel.from_pretrained(str(towers / "text"), add_pooling_layer=False)
    model.text.transformer.load_state_dict(text.state_dict())
    torch.save(model.state_dict(), folder / "begin.pt")
    return folder / "begin.pt"


def main() -> None:
    """Learn, and write images.npy (pictures, d) and texts.npy (captions, d), unit rows, into the task's folder."""
    peer, task = sys.argv[1], json.loads(sys.argv[2])
    torch.manual_seed(0)
    encode = {"sentence_transformers": sentence_transformers, "open_clip_lit": open_clip_lit}[peer](task)
    pairs = rows(Path(task["held_out"]))
    with torch.inference_mode():
        for name, side, inputs in (
            ("images", "picture", list(dict.fromkeys(path for path, _ in pairs))),
            ("texts", "text", [text for _, text in pairs]),
        ):
            vectors = np.asarray(encode(side, inputs), np.float32)
            assert vectors.shape == (len(inputs), DIM) and math.isfinite(float(vectors.sum()))
            np.save(Path(task["folder"]) / f"{name}.npy", vectors)


if __name__ == "__main__":
    main()
