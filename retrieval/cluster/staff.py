"""Staff: the workers of a cluster as machines come and go, and what each of them holds."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Self

from retrieval.callbacks import OnMessage, no_message
from retrieval.cluster import places
from retrieval.cluster.carried import carried
from retrieval.cluster.places import Place
from retrieval.cluster.workers import Work, Worker
from retrieval.datatypes import Item
from retrieval.errors import BadRequest, RetrievalError
from retrieval.indexing.line import Made

HELD = 2  # blocks of a worker: one that it makes, one that is there already
LOOK = 1.0  # seconds between looks at the machines
PATIENCE = 120.0  # seconds without any worker
TRIES = 3  # of a place where workers die before they are ready


@dataclass(slots=True, eq=False)
class Block:
    """Items whose rows are made together. deaths: of workers that held it. made: its rows, once they are there.

    ocr: with the text in them.
    """

    items: Sequence[Item]
    deaths: int = 0
    made: Made | None = None
    ocr: bool = False


@dataclass(slots=True, eq=False)
class _One:
    """A worker. ready: its encoder is loaded. held: by the references of what is awaited; None: that it is loaded."""

    place: Place
    actor: Any
    ready: bool = False
    held: dict[Any, Block | None] = field(default_factory=dict)

    def may_take(self, block: Block) -> bool:
        """What killed a worker is given to one that holds nothing else: the next death then is its own."""
        alone = block.deaths or any(other and other.deaths for other in self.held.values())
        return self.ready and len(self.held) < (1 if alone else HELD)


class Staff:
    """The workers of a cluster; they begin to come when it is made. A context manager: they go when it is left.

    Args:
        ray: The module, connected.
        device: "auto", "cpu" or "cuda".
        on_message: Called with a line for a person: a machine that went, or that cannot help.

    Raises:
        BadRequest: There is no room for any.
    """

    def __init__(self, ray: ModuleType, device: str = "auto", on_message: OnMessage = no_message) -> None:
        self._ray, self._device, self._say = ray, device, on_message
        self._class = ray.remote(max_restarts=0)(Worker)
        self._all: dict[Place, _One] = {}
        self._work: Work | None = None
        self._useless: set[str] = set()  # machines, by their ids
        self._tries: dict[Place, int] = {}
        self._seen = time.monotonic()  # when a worker was last there
        self._looked = 0.0
        self.look()
        if not self._all:
            raise BadRequest(
                f"the cluster has no {'GPU' if device == 'cuda' else 'core'} for a worker: see `ray status`"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Let all go: their cores are free for others, though the cluster stays connected."""
        for one in list(self._all.values()):
            for _ in self._dismissed(one):
                pass

    def __len__(self) -> int:
        return len(self._all)

    def load(self, work: Work) -> None:
        """Load the encoder; returns when each machine has it once. Raises BadRequest: what is wrong, and where."""
        self._work = work
        self._load_more()
        while any(not self._has_ready(one.place.node) for one in self._all.values()):
            for _ in self.hear(strict=True):
                pass
            self.look()
        if not self._all:
            raise BadRequest("no worker comes up on any machine: see `ray status`, and the memory that they have left")

    def give(self, block: Block) -> bool:
        """Hand a block to the worker that holds the fewest; False where all hold enough."""
        free = [one for one in self._all.values() if one.may_take(block)]
        if not free:
            return False
        one = min(free, key=lambda one: len(one.held))
        try:
            ref = one.actor.make.remote(block.items, block.ocr)
        except TypeError:  # they are of what does not leave the process that opened it
            block.items = carried(block.items)
            ref = one.actor.make.remote(block.items, block.ocr)
        one.held[ref] = block
        return True

    def hear(self, strict: bool = False) -> Iterator[Block]:
        """Wait, for a second at most, for what workers say: blocks that are made, and those whose worker died.

        strict: a machine that cannot help is an error, and not left out.
        """
        waited = {ref: one for one in self._all.values() for ref in one.held}
        if not waited:
            time.sleep(LOOK / 10)
            return
        done, _ = self._ray.wait(list(waited), num_returns=1, timeout=LOOK)
        for ref in done:
            one = waited[ref]
            block = one.held.pop(ref)
            try:
                said = self._ray.get(ref)
                if block is None:
                    one.ready = True
                    self._load_more()
                else:
                    block.made = said
                    yield block
            except self._ray.exceptions.RayTaskError as error:
                yield from self._failed(one, block, error, strict)
            except self._ray.exceptions.RayError:
                yield from self._lost(one, block)

    def look(self) -> None:
        """Look at the machines, once a second; hire where there is room.

        Raises:
            BadRequest: For two minutes there was none.
        """
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        for place in places.of_cluster(self._ray, self._device):
            if place not in self._all and place.node not in self._useless:
                self._all[place] = _One(place, self._class.options(**place.options()).remote())
        if self._all:
            self._seen = now
        elif now - self._seen > PATIENCE:
            raise BadRequest(
                "no machine of the cluster is left to work: see `ray status`, then run the same again to go on"
            )
        self._load_more()

    def _load_more(self) -> None:
        """Where one worker of a machine has loaded, what it made ready in the cache serves the others."""
        for one in self._all.values():
            first = next(other for other in self._all.values() if other.place.node == one.place.node)
            if self._work and not one.ready and not one.held and (one is first or self._has_ready(one.place.node)):
                one.held[one.actor.load.remote(self._work, one.place.device)] = None

    def _has_ready(self, node: str) -> bool:
        return any(one.ready for one in self._all.values() if one.place.node == node)

    def _failed(self, one: _One, block: Block | None, error: Exception, strict: bool) -> Iterator[Block]:
        """A worker said that it could not do something. Raises what it said, where that ends the whole."""
        cause = getattr(error, "cause", None) or error
        if block is not None and isinstance(cause, MemoryError):
            block.deaths += 1
            yield block
        elif block is None and isinstance(cause, RetrievalError) and not strict:
            self._say(f"left out: {cause}")
            yield from self._without(one.place.node)
        else:
            raise cause from None

    def _without(self, node: str) -> Iterator[Block]:
        self._useless.add(node)
        for one in [one for one in self._all.values() if one.place.node == node]:
            yield from self._dismissed(one)

    def _lost(self, one: _One, block: Block | None) -> Iterator[Block]:
        """A worker died, or cannot be reached any more."""
        if block:
            block.deaths += 1
            yield block
        tries = self._tries[one.place] = 0 if one.ready else self._tries.get(one.place, 0) + 1
        for other in self._dismissed(one):
            other.deaths += 1
            yield other
        if tries >= TRIES:
            self._say(f"left out: a machine on which no worker comes up ({one.place.node[:8]}): is its memory full?")
            yield from self._without(one.place.node)

    def _dismissed(self, one: _One) -> Iterator[Block]:
        """Let a worker go; the blocks that it held."""
        self._all.pop(one.place, None)
        self._ray.kill(one.actor)
        yield from [block for block in one.held.values() if block]
        one.held.clear()
