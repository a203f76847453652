"""Where the computation runs: which device, in which precision, compiled or not, on how many threads."""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import nn

from indexes.cpu import has_fast_bf16
from retrieval.errors import BadRequest

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16")


def resolve_device(name: str) -> torch.device:
    """ "auto", "cpu" or "cuda" as a device. Raises BadRequest for "cuda" where there is none."""
    if name not in DEVICES:
        raise BadRequest(f"unknown device `{name}`: use one of {', '.join(DEVICES)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise BadRequest("no CUDA device is available here: use --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """The type of the towers' heavy weights: bfloat16 where the processor multiplies it in hardware, else float32."""
    if name not in PRECISIONS:
        raise BadRequest(f"unknown precision `{name}`: use one of {', '.join(PRECISIONS)}")
    if name == "auto":
        fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else has_fast_bf16()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if name == "bf16" else torch.float32


def compile_body(body: nn.Module, backend: str, device: torch.device) -> None:
    """Let torch.compile make a tower's body faster, in place; a list of blocks block by block. "" does nothing.

    Raises BadRequest for a backend that torch does not have, and for inductor on a CPU without a C++ compiler.
    """
    if not backend:
        return
    if backend not in torch.compiler.list_backends(exclude_tags=()):
        raise BadRequest(f"torch has no compiler `{backend}`: use --set compile=inductor")
    found = os.environ.get("CXX") or any(map(shutil.which, ("g++", "clang++", "cl")))
    if backend == "inductor" and device.type == "cpu" and not found:
        raise BadRequest("compile=inductor needs a C++ compiler on a CPU: install g++, or leave out --set compile")
    for part in body if isinstance(body, nn.ModuleList) else [body]:
        part.compile(backend=backend)


@contextmanager
def one_thread() -> Iterator[None]:
    """One core for what lasts seconds: several, where others use them, wait for each other longer than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def lanes(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that compute beside each other, one core each; what has not begun when this is left never does."""
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)  # the lanes' number became that of threads to come
