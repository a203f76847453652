"""The symmetric InfoNCE of a large batch, forward and backward: memory beyond the gradients, and time.

    python -m eval.bench.loss [NAME ...]     # cpu-16k-memory cpu-4k-time

16,384 and 4,096 pairs of 256 numbers in float32 on the CPU. Memory is the resident set's peak in MiB, time in seconds.
Peers: the loss with its logits in memory, open_clip's ClipLoss, twice torch's F.linear_cross_entropy. eval/bench/gpu
measures the same on a GPU, with more pairs in bfloat16, and beside Inf-CL where `inf_cl` is installed.
"""

import ctypes
import multiprocessing
import re
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F

from eval.bench import figure
from retrieval.datatypes import Features
from retrieval.losses.contrastive import info_nce, sigmoid

ROUNDS = 5
MIB = 2**20
Loss = Callable[[Features], torch.Tensor]


def batch(pairs: int, dim: int, device: str) -> Features:
    """Random directions, scale 20, as leaves: float32 on the CPU, bfloat16 on a GPU."""
    generator = torch.Generator(device).manual_seed(0)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    image, text = (
        F.normalize(torch.randn(pairs, dim, device=device, generator=generator), dim=-1).to(dtype).requires_grad_()
        for _ in range(2)
    )
    return Features(image, text, *(torch.tensor(x, device=device, requires_grad=True) for x in (20.0, -10.0)))


def sides(f: Features) -> tuple[torch.Tensor, torch.Tensor]:
    """(pictures, texts) of a batch, which has both."""
    assert f.image is not None and f.text is not None
    return f.image, f.text


# ---------------------------------------------------------------- the losses


def ours(f: Features) -> torch.Tensor:
    """Ours, tiled."""
    return info_nce(f, f)


def dense(f: Features) -> torch.Tensor:
    """Both cross-entropies of one matrix of logits: three products."""
    image, text = sides(f)
    logits = f.logit_scale * (image.float() @ text.float().T)
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def clip_loss(f: Features) -> torch.Tensor:
    """open_clip's, under autocast where the features are bfloat16."""
    from open_clip import ClipLoss

    image, text = sides(f)
    with torch.autocast("cuda", torch.bfloat16, enabled=image.is_cuda):
        return ClipLoss()(image, text, f.logit_scale)


def linear_cross_entropy(f: Features) -> torch.Tensor:
    """torch's, in chunks, once for each direction."""
    image, text = sides(f)
    target = torch.arange(len(image), device=image.device)
    scale, options = f.logit_scale.to(image.dtype), torch.nn.LinearCrossEntropyOptions()

    def one_way(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.linear_cross_entropy(scale * x, y, target, options=options)

    return (one_way(image, text) + one_way(text, image)) / 2


def inf_cl(f: Features) -> torch.Tensor:
    """Inf-CL's kernel, once for each direction."""
    from inf_cl import cal_flash_loss

    image, text = sides(f)
    there, back = (cal_flash_loss(x, y, scale=f.logit_scale).mean() for x, y in ((image, text), (text, image)))
    return (there + back) / 2


def siglip_loss(f: Features) -> torch.Tensor:
    """open_clip's sigmoid loss."""
    from open_clip.loss import SigLipLoss

    return SigLipLoss()(f.image, f.text, f.logit_scale, f.bias)


def our_sigmoid(f: Features) -> torch.Tensor:
    """Our sigmoid loss, tiled."""
    return sigmoid(f, f)


PEERS = {"dense": dense, "open_clip ClipLoss": clip_loss, "2 x F.linear_cross_entropy": linear_cross_entropy}


# ---------------------------------------------------------------- how they are measured


def step(loss: Loss, f: Features) -> float:
    """Seconds of a forward and a backward."""
    _forget_gradients(f)
    started = time.perf_counter()
    loss(f).backward()
    if f.logit_scale.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def in_turns(losses: Sequence[Loss], f: Features) -> list[list[float]]:
    """Seconds of each, round by round, after one that does not count."""
    rounds = [[step(loss, f) for loss in losses] for _ in range(ROUNDS + 1)]
    return [list(times) for times in zip(*rounds[1:], strict=True)]


def cpu_peak(loss: Loss, pairs: int, dim: int) -> float:
    """MiB beyond the features and their gradients, in a process of its own."""
    step(loss, batch(64, dim, "cpu"))  # what is loaded once is not the batch's
    f = batch(pairs, dim, "cpu")
    ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back, or it would hold the workspace unseen
    Path("/proc/self/clear_refs").write_text("5", "utf-8")  # the peak begins anew
    before = _resident("VmRSS")
    step(loss, f)
    return (_resident("VmHWM") - before - _gradient_bytes(f)) / MIB


def _resident(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text("utf-8"))
    assert found is not None  # every Linux says it
    return int(found[1]) * 1024


def gpu_peak(loss: Loss, f: Features) -> float:
    """MiB beyond the features and their gradients."""
    _forget_gradients(f)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step(loss, f)
    return (torch.cuda.max_memory_allocated() - before - _gradient_bytes(f)) / MIB


def _gradient_bytes(f: Features) -> int:
    return sum(x.numel() * x.element_size() for x in sides(f))


def _forget_gradients(f: Features) -> None:
    for tensor in f:
        if tensor is not None:
            tensor.grad = None


# ---------------------------------------------------------------- the figures


def cpu_16k_memory() -> None:
    """Asked: 200 MiB, a twentieth of the dense loss."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        mine = pool.submit(cpu_peak, ours, 16_384, 256).result()
        for name in ("open_clip ClipLoss", "2 x F.linear_cross_entropy"):
            peer = pool.submit(cpu_peak, PEERS[name], 16_384, 256).result()
            figure("cpu-16k-memory", [mine], [peer], name, floor=20 if "Clip" in name else 1, goal=20,
                   smaller_is_better=True)  # fmt: skip


def cpu_4k_time() -> None:
    """Asked: no slower than dense."""
    f = batch(4096, 256, "cpu")
    mine, *theirs = in_turns([ours, *PEERS.values()], f)
    for name, times in zip(PEERS, theirs, strict=True):
        figure("cpu-4k-time", mine, times, name, floor=1, goal=1.5, smaller_is_better=True)
    mine, times = in_turns([our_sigmoid, siglip_loss], f)
    figure("cpu-4k-time, sigmoid", mine, times, "open_clip SigLipLoss", floor=1, goal=1.5, smaller_is_better=True)


FIGURES = {"cpu-16k-memory": cpu_16k_memory, "cpu-4k-time": cpu_4k_time}


def main() -> None:
    """The figures asked for, or all."""
    names = sys.argv[1:] or list(FIGURES)
    unknown = set(names) - set(FIGURES)
    if unknown:
        sys.exit(f"no figure {', '.join(sorted(unknown))}: one of {', '.join(FIGURES)}")
    for name in names:
        FIGURES[name]()


if __name__ == "__main__":
    main()
