"""What a run ends with: the encoder that is kept, in full precision and whole, and how it came to be kept."""

from dataclasses import dataclass

import torch
from torch import Tensor

from retrieval.encoders.encoder import DualEncoder
from retrieval.training import lora, trainable
from retrieval.training.distributed import sharding


@dataclass(frozen=True, slots=True)
class TrainResult:
    """The trained encoder and the facts of its run.

    Attributes:
        encoder: The encoder that was kept, in float32 and in evaluation mode; it is saved in the run folder where the
            run is finished.
        steps: How many steps were done in all, those before a resume included.
        finished: False where `should_stop` ended the run; True where it came to its end or its `patience` did.
        skipped: (uri, reason) of each picture that could not be read.
        metrics: What `on_eval` measured of the kept weights; None where they were not evaluated.
        kept: The step whose weights these are: the last one, or the best evaluation's (`keep=best`).
        before: What `on_eval` measured of the encoder that a fine-tune began with; None for a run from scratch.
    """

    encoder: DualEncoder
    steps: int
    finished: bool
    skipped: list[tuple[str, str]]
    metrics: dict[str, float] | None
    kept: int
    before: dict[str, float] | None = None

    @property
    def fingerprint(self) -> str:
        """Of the encoder."""
        return self.encoder.fingerprint


def encoder_with(
    model: DualEncoder, weights: dict[str, Tensor], frozen: trainable.Frozen, mould: sharding.Mould | None
) -> DualEncoder:
    """The model as an ordinary encoder in float32, with these weights and what was frozen as it was.

    It is the model itself, or, where that is sharded, a whole one on the CPU, for which every process must call this.
    """
    model.float()
    frozen.restore(model)
    with torch.no_grad():
        now = model.state_dict()
        for name, tensor in weights.items():
            now[name].copy_(sharding.share_like(now[name], tensor))
    encoder = mould.fill(model, "cpu") if mould else model
    assert encoder is not None  # a mould gives one to whoever keeps it, which all do here
    lora.merge(encoder)
    encoder.forget_fingerprint()
    return encoder.eval()
