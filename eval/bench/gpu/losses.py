"""The loss of a large batch, beside others where they are installed and their logits fit (eval/bench/loss.py)."""

from collections.abc import Callable, Iterator

import torch

from eval.bench import loss
from eval.bench.gpu import device
from eval.bench.gpu.place import Figure, Place
from retrieval.datatypes import Features

MIB = 2**20


def of_65k(place: Place) -> Iterator[Figure]:
    """Time, speed and memory of ours, then of the others."""
    pairs, dim = place.sized((65_536, 512), (512, 32))
    batch = loss.batch(pairs, dim, place.device)
    seconds = place.seconds(lambda: loss.step(loss.ours, batch))
    yield Figure("seconds", seconds, "s", "goal 0.05")
    yield from device.shares(place, 8 * pairs**2 * dim / seconds / 1e12)
    yield Figure("memory beyond the gradients", _peak(place, loss.ours, batch), "MiB", "goal 256")
    for name, peer in (loss.PEERS | {"Inf-CL": loss.inf_cl}).items():
        yield from _beside(place, name, peer, batch)


def _beside(place: Place, name: str, peer: loss.Loss, batch: Features) -> Iterator[Figure]:
    try:
        yield Figure(f"{name}: seconds", place.seconds(lambda: loss.step(peer, batch)), "s")
        yield Figure(f"{name}: memory beyond the gradients", _peak(place, peer, batch), "MiB")
    except torch.OutOfMemoryError:
        yield Figure(f"{name}: seconds", None, "s", "its logits do not fit the device")
    except ModuleNotFoundError as error:
        yield Figure(f"{name}: seconds", None, "s", f"{error.name} is not installed")
    except AttributeError as error:
        yield Figure(f"{name}: seconds", None, "s", f"not in torch {torch.__version__} ({error})")


def of_1m(place: Place) -> Iterator[Figure]:
    """One step of ours, and all the memory that it takes."""
    pairs, dim = place.sized((2**20, 512), (1024, 32))
    loss.step(loss.ours, loss.batch(place.sized(8192, 64), dim, place.device))
    batch = loss.batch(pairs, dim, place.device)
    if place.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = loss.step(loss.ours, batch)
    yield Figure("seconds", seconds, "s", "goal 15")
    yield from device.shares(place, 8 * pairs**2 * dim / seconds / 1e12)
    if place.device == "cuda":
        yield Figure("memory in all", torch.cuda.max_memory_allocated() / MIB, "MiB", "goal 12288")


def _peak(place: Place, of: Callable[[Features], torch.Tensor], batch: Features) -> float:
    if place.device == "cuda":
        return loss.gpu_peak(of, batch)
    assert batch.image is not None
    return loss.cpu_peak(of, *batch.image.shape)
