"""Head: a fitted module with its labels and the encoder it belongs to; a folder, like a run.

A head folder holds config.json (the HeadConfig), head.safetensors and, written last, head.json: labels, modalities, the
encoder's name and fingerprint. Without head.json the folder is no head. A head refuses another encoder's vectors.
"""

import contextlib
import dataclasses
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import nn

from indexes import durable, typed
from indexes.distribution import UPGRADE
from indexes.typed import Meta
from retrieval.encoders import presets
from retrieval.errors import BadRequest, MissingModel
from retrieval.heads import examples, fusions
from retrieval.heads.config import HeadConfig
from retrieval.heads.inputs import Inputs
from retrieval.settings import from_json

MANIFEST, WEIGHTS, CONFIG = "head.json", "head.safetensors", "config.json"
FORMAT_VERSION = 1
_AT_ONCE = 4096  # rows


@dataclass(frozen=True)
class Head:
    """What `mmr head train` makes: `train_head` fits one, `save` writes it, `load_head` reads it.

    Attributes:
        module: A Fusion or a probe: (vectors, present) to logits (b, outputs).
        config: How it was fitted.
        names: The classes, none for numbers.
        task: Of examples.TASKS.
        column: The one that it answers.
        dims: Modality -> numbers in its vectors.
        encoder: The name of the encoder whose vectors it was fitted on.
        fingerprint: That encoder's.
        temperature: What logits are divided by, so that it is as sure as it is right.
        center: Of the numbers of a regression, whose answers are center + spread * logits.
        spread: As center.

    Examples:
        >>> head = load_head("heads/article")
        >>> row = one_row(Path("shirt.jpg"), "Men Navy Blue Shirt", load_encoder(head.encoder), head.dims)
        >>> head.answers(row, k=3)
    """

    module: nn.Module
    config: HeadConfig
    names: list[str]
    task: str
    column: str
    dims: dict[str, int]
    encoder: str
    fingerprint: str
    temperature: float = 1.0
    center: float = 0.0
    spread: float = 1.0

    @torch.inference_mode()
    def scores(self, inputs: Inputs) -> np.ndarray:
        """float32 (n, classes): probabilities, a row of them sums to 1 (single), each is 0 to 1 (multiple); or (n, 1).

        Raises BadRequest where a row has none of the modalities, or one of them is not given at all.
        """
        inputs = inputs.only(list(self.dims))
        for name, dim in self.dims.items():
            if inputs.vectors[name].shape[-1] != dim:
                raise BadRequest(f"`{name}` has {inputs.vectors[name].shape[-1]} numbers a row, the head wants {dim}: "
                                 "give the vectors it was trained on")  # fmt: skip
        if not inputs.anything.all():
            raise BadRequest(f"nothing to go by in row {int((~inputs.anything).argmax())}: give a picture or a text")
        self.module.eval()
        parts = [self._scores(inputs[np.arange(i, min(i + _AT_ONCE, len(inputs)))])
                 for i in range(0, len(inputs), _AT_ONCE)]  # fmt: skip
        return np.concatenate(parts)

    def _scores(self, inputs: Inputs) -> np.ndarray:
        vectors = {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in inputs.vectors.items()}
        present = {name: torch.from_numpy(np.ascontiguousarray(p)) for name, p in inputs.present.items()}
        logits = self.module(vectors, present).float()
        if self.task == "number":
            return (logits * self.spread + self.center).numpy()
        scaled = logits / self.temperature
        return (scaled.softmax(1) if self.task == "single" else scaled.sigmoid()).numpy()

    def answers(self, inputs: Inputs, k: int = 1) -> list[list[tuple[str, float]]]:
        """Of each row the k most likely classes with their probabilities, best first; of numbers the column and it."""
        scores = self.scores(inputs)
        if self.task == "number":
            return [[(self.column, float(row[0]))] for row in scores]
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return [[(self.names[i], float(row[i])) for i in order] for row, order in zip(scores, best, strict=True)]

    def labels(self, inputs: Inputs) -> list[tuple[str | float, float | None]]:
        """Each row's answer and how sure it is: a class, several joined by `|` (the least sure counts), a number."""
        if self.task == "number":
            return [(round(answer[0][1], 6), None) for answer in self.answers(inputs)]
        if self.task == "single":
            return [answer[0] for answer in self.answers(inputs)]
        scores = self.scores(inputs)
        named = [[(self.names[i], float(row[i])) for i in np.flatnonzero(row >= 0.5)] for row in scores]
        return [(examples.SEPARATOR.join(n for n, _ in row), min((s for _, s in row), default=0.0)) for row in named]

    def where(self, folder: Path | str) -> str:
        """The name by which the encoder of the head in that folder is loaded. Raises MissingModel where it is gone."""
        if presets.is_gone(self.encoder):
            command = f"mmr head predict {shlex.quote(str(folder))} PICTURE --model RUN"
            raise MissingModel(
                f"the encoder of {folder} was {self.encoder}, which is gone: say where it is now with `{command}`"
            )
        return self.encoder

    def require(self, fingerprint: str | None, name: str) -> None:
        """Raises MissingModel where vectors come from another encoder than those it was fitted on."""
        if fingerprint != self.fingerprint:
            raise MissingModel(
                f"this head was fitted on {self.encoder} ({self.fingerprint}), not on {name} ({fingerprint}): "
                f"use that one, or train another head with `mmr head train {name} SOURCE --label {self.column}`"
            )

    def save(self, folder: Path | str, force: bool = False) -> None:
        """Write the head into a folder, the manifest last: a folder without it is no head.

        Args:
            folder: A new one, or an empty one.
            force: Replace the head that is there.

        Raises:
            BadRequest: The folder holds a head already, or anything else.
            OSError: The disk fails.
        """
        folder = Path(folder)
        check_out(folder, force)
        durable.make_folder(folder.absolute())
        (folder / MANIFEST).unlink(missing_ok=True)
        config = json.dumps(dataclasses.asdict(self.config), indent=2)
        durable.write_bytes(folder / CONFIG, config.encode())
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.module.state_dict().items()}
        durable.write_bytes(folder / WEIGHTS, save(tensors))
        durable.write_bytes(folder / MANIFEST, json.dumps(self._manifest(), indent=2).encode())

    def _manifest(self) -> dict:
        fields = ("names", "task", "column", "dims", "encoder", "fingerprint", "temperature", "center", "spread")
        return {"format": FORMAT_VERSION, **{name: getattr(self, name) for name in fields}}


def _module(config: HeadConfig, dims: dict[str, int], outputs: int, tensors: dict[str, torch.Tensor]) -> nn.Module:
    """The module that was saved; names and shapes are compared before memory of the sizes in its config is taken."""
    with torch.device("meta"):
        fusions.rebuild(config, dims, outputs, {name: tensor.to("meta") for name, tensor in tensors.items()})
    return fusions.rebuild(config, dims, outputs, tensors)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Manifest:
    """What head.json says, with types: the fields of a Head that are no tensors."""

    format: Annotated[int, Meta(ge=1)]
    names: list[str]
    task: Literal["single", "multiple", "number"]
    column: str
    dims: Annotated[dict[str, Annotated[int, Meta(ge=1, le=1 << 20)]], Meta(min_length=1, max_length=64)]
    encoder: str
    fingerprint: str
    temperature: Annotated[float, Meta(gt=0)] = 1.0
    center: float = 0.0
    spread: float = 1.0

    def facts(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.name != "format"}


def check_out(folder: Path | str, force: bool = False) -> None:
    """May a head be written there? Raises BadRequest: an existing one without force, or anything that is no head."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise BadRequest(f"{folder} is a file: give another --out")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    names = {path.name for path in folder.iterdir()}
    if not names <= {MANIFEST, WEIGHTS, CONFIG} or names == {CONFIG}:  # which may be anybody's
        raise BadRequest(f"{folder} holds other things than a head: give another --out")
    if not force:
        raise BadRequest(f"{folder} holds a head already: replace it with --force, or give another --out")


def remember_place(folder: Path | str, head: Head, name: str) -> Head:
    """The head of a folder with its encoder at another place, written down there where that can be done."""
    moved = dataclasses.replace(head, encoder=str(Path(name).absolute()) if Path(name).is_dir() else name)
    if moved.encoder != head.encoder:
        with contextlib.suppress(OSError):  # of another user, say
            durable.write_bytes(Path(folder) / MANIFEST, json.dumps(moved._manifest(), indent=2).encode())
    return moved


def load_head(folder: Path | str) -> Head:
    """The head of a folder.

    Args:
        folder: As `Head.save` wrote it.

    Returns:
        The head, ready to be asked. Its encoder is not loaded: `load_encoder(head.encoder)`.

    Raises:
        MissingModel: There is none, or it is unfinished, damaged, or of a newer version.

    Examples:
        >>> head = load_head("heads/article")
        >>> head.column, head.names
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        if several := [str(found.parent) for found in sorted(folder.glob(f"*/{MANIFEST}"))]:
            raise MissingModel(f"{folder} holds several heads: give one of {', '.join(several)}")
        raise MissingModel(
            f"{folder} holds no head: make one with `mmr head train ENCODER SOURCE --label COLUMN --out {folder}`"
        )
    try:
        said = typed.read(folder / MANIFEST, _Manifest)
        if said.format > FORMAT_VERSION:
            raise MissingModel(f"{folder} was written by a newer mmr: upgrade with `{UPGRADE}`")
        config = from_json(HeadConfig, typed.read(folder / CONFIG, dict[str, Any]))
        module = _module(config, said.dims, len(said.names) or 1, load_file(folder / WEIGHTS))
        return Head(module=module.eval(), config=config, **said.facts())
    except MissingModel:
        raise
    # Whatever a damaged file makes of it: JSON, keys, shapes and safetensors' own errors (a subclass of Exception).
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MissingModel(f"{folder} is damaged ({reason[:120]}): restore it or train again") from error
