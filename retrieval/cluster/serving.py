"""Search over shards that many machines hold: Ray Serve keeps so many replicas of each, and brings back what dies.

An application for each shard, called by the folder and the number of the shard, so that a command that was killed finds
its replicas again. Queries come by handles, not by HTTP: who is asked from outside is `mmr serve`.
"""

import asyncio
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from indexes import ShardAway, Store
from indexes.sharded import manifest
from indexes.sharded.client import Question
from indexes.sharded.manifest import Manifest
from indexes.sharded.reader import Sharded
from retrieval.cluster import connection, places
from retrieval.cluster.replica import Replica
from retrieval.errors import BadRequest

ANSWERS = 20.0  # seconds for one shard, and then it is away
TIMES = 3  # that a replica is asked, each time another one where there is one; and that one is described
COMES = 120.0  # seconds for the first replica of each shard
LOOK = 0.5  # seconds between looks at who is alive
_UNSEEN = (RuntimeError, OSError, KeyError)  # of a cluster that is just coming or going
ONGOING = 64  # questions to a replica at once


class Serving:
    """The replicas of the shards of a folder, and who asks them. What `Sharded` takes as `connect`.

    Args:
        ray: The module, connected.
        folder: Of the manifest, as every machine sees it.
        replicas: Of each shard, at least 1.

    Attributes:
        said: What Ray raises for an error of a replica, which is its `cause`.
        gone: What it raises where a process or a machine is gone.
    """

    def __init__(self, ray: Any, folder: Path, replicas: int = 1) -> None:
        from ray import exceptions, serve
        from ray.serve.exceptions import RayServeException

        self.said: Any = exceptions.RayTaskError
        self.gone: tuple[type[Exception], ...] = (exceptions.RayError, RayServeException)
        self._ray, self._serve, self.folder, self.replicas = ray, serve, folder.absolute(), replicas
        self._prefix = f"mmr-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]}"
        self._handles: list[Any] = []
        self._alive: dict[int, int] = {}  # replicas that run, by shard
        self._starting, self._ended = threading.Lock(), threading.Event()
        self._aside = ThreadPoolExecutor(8, "ask")
        with connection.quiet():
            serve.start(proxy_location="Disabled")
        logging.getLogger("ray.serve").setLevel(logging.CRITICAL)  # it says of each replica what becomes of it
        self._watching = threading.Thread(target=self._watch, name="replicas", daemon=True)
        self._watching.start()

    def __call__(self, folder: Path, said: Manifest) -> Sequence["RemoteShard"]:
        """Who answers for each shard of a manifest; replicas of shards that are new are started first."""
        with self._starting:
            self._start(len(said.shards))
        return [RemoteShard(self, number, said.generation) for number in range(len(said.shards))]

    def read(self, folder: Path | str, wait: float | None = None) -> Store:
        """The reader over all shards, as `open_reader` gives it. Raises StoreError where one of them cannot be read."""
        store = Sharded(Path(folder), self)
        store.describe()  # which asks each
        return cast(Store, store)

    def alive(self, number: int) -> int:
        """How many replicas of a shard run, as seen half a second ago."""
        return self._alive.get(number, 0)

    def close(self) -> None:
        """End the replicas."""
        self._ended.set()
        self._watching.join(5)
        for number in range(len(self._handles)):
            with suppress(*self.gone, *_UNSEEN):  # which may be gone
                self._serve.delete(self._name(number), _blocking=False)
        self._aside.shutdown(wait=False)

    def aside(self, number: int, *given: Any) -> Any:
        """`asked` in a thread of its own: an event loop must not wait for a handle."""
        return self._aside.submit(self.asked, number, *given).result()

    def asked(self, number: int, *given: Any) -> Any:
        """What a replica of a shard answers. Raises what it raised, or what Ray says where it died or is too slow."""
        return self._handles[number].ask.remote(*given).result(timeout_s=ANSWERS)

    def _name(self, number: int) -> str:
        return f"{self._prefix}-{number:04d}"

    def _start(self, count: int) -> None:
        """Start the replicas of those of `count` shards that have none; returns when each shard has one."""
        made = self._deployed(
            num_replicas=self.replicas, max_ongoing_requests=ONGOING, health_check_period_s=2.0,
            health_check_timeout_s=10.0, graceful_shutdown_timeout_s=2.0, max_replicas_per_node=self._for_a_machine(),
            ray_actor_options={"num_cpus": self._cores(count)},
        )(Replica)  # fmt: skip
        targets = [
            self._serve.RunTarget(made.bind(str(self.folder), number), self._name(number), None)
            for number in range(len(self._handles), count)
        ]
        if targets:
            self._handles += self._serve.run_many(targets, wait_for_applications_running=False)
            self._wait(count)

    def _deployed(self, **options: Any) -> Callable[[type], Any]:
        """Ray's description of a deployment. Making one registers a module in Ray for a moment, and a thread of Ray's
        own that does the same takes it away again: then it is made once more."""
        for _ in range(TIMES - 1):
            with suppress(ValueError):
                return self._serve.deployment(**options)
        return self._serve.deployment(**options)

    def _wait(self, count: int) -> None:
        until = time.monotonic() + COMES
        while missing := [number for number in range(count) if not self.alive(number)]:
            if time.monotonic() > until:
                raise BadRequest(
                    f"{len(missing)} of {count} shards found no machine in {COMES:.0f} s: see `ray status`, and give "
                    "fewer --replicas or more machines"
                )
            time.sleep(0.1)

    def _for_a_machine(self) -> int:
        """Replicas of one shard that a machine may have: as few as there are machines for."""
        machines = max(1, len(places.machines(self._ray)))
        return -(-self.replicas // machines)

    def _cores(self, count: int) -> int:
        """For each replica, where there is one for each; else they share."""
        cores = [int(node.get("CPU", 0)) for node in places.machines(self._ray).values()]
        each = -(-count * self.replicas // max(1, len(cores)))
        return min((one // each for one in cores), default=0)

    def _watch(self) -> None:
        while not self._ended.wait(LOOK):
            with suppress(*self.gone, *_UNSEEN):  # what cannot be seen now is seen the next time
                self._alive = self._seen()

    def _seen(self) -> dict[int, int]:
        found = {}
        for name, application in self._serve.status().applications.items():
            if name.startswith(self._prefix + "-"):
                states: list[Any] = [one.replica_states for one in application.deployments.values()]
                found[int(name.rpartition("-")[2])] = sum(int(one.get("RUNNING", 0)) for one in states)
        return found


class RemoteShard:
    """Who answers for one shard, on other machines: a client as indexes/sharded/client.py describes it."""

    def __init__(self, serving: Serving, number: int, generation: int) -> None:
        self._serving, self._number, self._generation = serving, number, generation

    def ask(self, question: Question, *given: Any) -> Any:
        """As Shard says: a replica that dies meanwhile is answered for by another."""
        if question == "marks":  # of files that other machines look after, at a commit that is pinned
            return {}
        ask = self._serving.aside if _in_event_loop() else self._serving.asked
        for _ in range(TIMES):
            if not self._serving.alive(self._number):
                break
            try:
                return ask(self._number, self._generation, question, given)
            except self._serving.said as error:  # the replica's own error
                raise error.cause from None
            except TimeoutError:
                break
            except self._serving.gone:
                continue
        raise ShardAway(f"shard {self._number} of {self._serving.folder} has no replica: ask again in a moment")

    def close(self) -> None:
        """As Shard says; the replicas stay, for those who ask next."""


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@contextmanager
def served(folder: Path | str, address: str = connection.LOCAL, replicas: int = 1) -> Iterator[Serving]:
    """Shards, held by the machines of a cluster for as long as this is entered.

    Args:
        folder: Of the manifest, which all machines see under this path.
        address: "local", "auto" or HOST:PORT.
        replicas: Of each shard.

    Yields:
        Who holds them: its `read` is what Retriever.open takes as `reader`.

    Raises:
        BadRequest: Ray is not there, no cluster answers, there is no room, or fewer than one replica is asked.
        StoreError: There are no shards; from `read`: one is missing, of another encoder, or at another commit.
    """
    if replicas < 1:
        raise BadRequest(f"--replicas {replicas} would leave nobody to answer: give 1 or more")
    manifest.read(Path(folder))
    with connection.connected(address) as ray:
        serving = Serving(ray, Path(folder), replicas)
        try:
            yield serving
        finally:
            serving.close()
