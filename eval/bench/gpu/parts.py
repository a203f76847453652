"""The parts by their names, in the order in which they run: what is worth most comes first."""

from typing import NamedTuple


class Part(NamedTuple):
    """A part. where: "module:function" in this folder, which yields its figures. seconds: it may take."""

    where: str
    seconds: float
    what: str


PARTS = {
    "device": Part("device:figures", 40, "what the device can do at best"),
    "equality": Part("equality:figures", 75, "CPU and CUDA give the same: losses, gradients, encodings"),
    "equality-search": Part("searching:equality", 45, "CPU and CUDA find the same rows"),
    "loss-65k": Part("losses:of_65k", 60, "InfoNCE of 65,536 pairs x 512, forward and backward"),
    "training": Part("training:figures", 90, "pictures a second of a training step, and its share of the peak"),
    "encoding": Part("encoding:figures", 60, "pictures a second, encoded in bulk"),
    "search-1m": Part("searching:one_million", 45, "exact search among 1,000,000 rows x 512, k = 10"),
    "search-10m": Part("searching:ten_million", 90, "exact search among 10,000,000 rows x 512, k = 10"),
    "resume": Part("resuming:figures", 60, "a run that was stopped goes on as if it had not been"),
    "loss-1m": Part("losses:of_1m", 90, "InfoNCE of 1,048,576 pairs x 512, forward and backward"),
    "approximate": Part("approximate:figures", 75, "FAISS trains and proposes on the device"),
    "compile": Part("compiling:figures", 90, "torch.compile of a training step"),
}
