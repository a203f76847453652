"""A trainee: one process of a training over many machines, and the ear by which the command hears of it.

What it runs is what a process of torchrun runs, train() in a group of processes that Ray Train has connected.
"""

import fcntl
import os
import platform
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexes import StoreError
from retrieval.encoders.encoder import DualEncoder
from retrieval.errors import BadRequest, RetrievalError
from retrieval.sources.registry import open_mixture
from retrieval.training.config import TrainConfig
from retrieval.training.distributed.ranks import join
from retrieval.training.loop import train

Measure = Callable[[DualEncoder], dict[str, float]]
_ADDRESS_OF = 0x8915  # SIOCGIFADDR
_OFTEN = 0.1  # seconds between two words of how many pictures are read


@dataclass(frozen=True, slots=True)
class Job:
    """What every trainee is given.

    out: the run folder, absolute. here: the folder that names of sources are relative to. seen: a folder beside `out`
    which is there for this run alone. measures: gives the `on_eval` of train(), or None.
    """

    sources: tuple[str, ...]
    out: Path
    config: TrainConfig
    resume: bool
    here: Path
    seen: Path
    measures: Callable[[], Measure | None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A TrainResult but for its encoder, which a finished run has saved; fingerprint: that encoder's."""

    fingerprint: str
    steps: int
    finished: bool
    skipped: list[tuple[str, str]]
    metrics: dict[str, float] | None
    kept: int
    before: dict[str, float] | None


class Ear:
    """An actor beside the command: hears the first trainee and the losses, and says whether to stop."""

    def __init__(self) -> None:
        self._said: list[tuple[str, tuple[Any, ...]]] = []
        self._stopping = False
        self._error: Exception | None = None

    def hear(self, listener: str, *given: Any) -> bool:
        """Keep what a listener of the command is to be told; should the run stop?"""
        self._said.append((listener, given))
        return self._stopping

    def told(self, stopping: bool) -> list[tuple[str, tuple[Any, ...]]]:
        """What was heard since this was last asked. stopping: whether the run is to stop."""
        self._stopping = stopping
        said, self._said = self._said, []
        return said

    def fail(self, error: Exception) -> None:
        """Keep an error that no second try mends; the first one is the cause of the others."""
        self._error = self._error or error

    def error(self) -> Exception | None:
        """That error."""
        return self._error

    def lose(self, reason: str) -> None:
        """Keep that a trainee was lost, of which people are told."""
        if not self._error:
            self.hear("on_message", f"a worker was lost ({reason}): all go on from the last checkpoint")


def name_interface() -> None:
    """Say to gloo which interface the other machines reach this one by: by itself it takes the one that the machine's
    name stands for, which in many an /etc/hosts is the loopback's."""
    import ray

    if name := interface_of(ray.util.get_node_ip_address()):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def interface_of(address: str) -> str | None:
    """The name of the interface that has an IPv4 address here."""
    for _, name in socket.if_nameindex():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            try:
                told = fcntl.ioctl(asked.fileno(), _ADDRESS_OF, struct.pack("256s", name.encode()))
            except OSError:  # it has none
                continue
            if socket.inet_ntoa(told[20:24]) == address:
                return name
    return None


def work(job: Job, ear: Any) -> Outcome | None:
    """All that a trainee does; None where an earlier group met what a person must mend.

    Ray Train ends the whole group where one raises, and starts another: that one finds the error with the ear.
    """
    import ray

    if ray.get(ear.error.remote()):
        return None
    try:
        return trained(job, ear)
    except (RetrievalError, StoreError) as error:
        ray.get(ear.fail.remote(error))
        raise RuntimeError("the command was told") from None


def trained(job: Job, ear: Any) -> Outcome:
    """Train, in the group that this process is of.

    Raises what train() does, and BadRequest where a folder is not to be seen from here.
    """
    if not (job.seen.is_dir() and job.here.is_dir()):
        lost = job.out if job.here.is_dir() else job.here
        raise BadRequest(
            f"{lost} is not to be seen from the machine {platform.node()}: give an --out, and work in a folder, on a "
            "disk that all machines share"
        )
    os.chdir(job.here)
    with join(job.config.device) as ranks:
        begun = ranks.from_first(lambda: job.resume or (job.out / "config.json").is_file())
    voice = _Voice(ear)
    result = train(
        open_mixture(job.sources), job.out, job.config, resume=begun, on_eval=job.measures(),
        on_decode=voice.read, on_message=voice.say, on_step=voice.step, should_stop=lambda: voice.stopping,
    )  # fmt: skip
    fingerprint = result.encoder.fingerprint if result.finished else ""
    return Outcome(
        fingerprint, result.steps, result.finished, result.skipped, result.metrics, result.kept, result.before
    )


class _Voice:
    """What the command's listeners are told, through the ear. stopping: what it last said to that."""

    def __init__(self, ear: Any) -> None:
        self._ear, self._last = ear, 0.0
        self.stopping = False

    def read(self, done: int, total: int) -> None:
        if done == total or time.monotonic() - self._last > _OFTEN:
            self._last = time.monotonic()
            self._ear.hear.remote("on_decode", done, total)

    def say(self, text: str) -> None:
        self._ear.hear.remote("on_message", text)

    def step(self, progress: Any) -> None:
        import ray

        self.stopping = ray.get(self._ear.hear.remote("on_step", progress))
