"""Several machines of a Ray cluster on this one: in network namespaces of their own, or, without the right to, beside
each other.

    with Namespaces(3, folder, env) as machines:
        subprocess.run([*machines.inside, "mmr", "index", "photos", "--ray", machines.address])
        machines.kill(1)

Each has one core. The first is the head, where commands run and which nothing happens to.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

PORT = 6379
MEMORY = 80 * 2**20  # of each one's object store
WORKER = "ray::Worker"  # what those processes are called that make rows (retrieval/cluster/workers.py)
PATIENCE = 120.0  # seconds for a machine to come
OPEN = {"RAY_AUTH_MODE": "disabled"}  # nobody else can reach them, and where a token is found depends on the user


class Machines(Protocol):
    """What both kinds can do. address: of the head. inside: words before those of a command that is to run there."""

    address: str
    inside: list[str]

    def __enter__(self) -> Self:
        """Start all."""
        ...

    def __exit__(self, *error: object) -> None:
        """End all, and remove what was made."""
        ...

    def start(self, number: int, env: Mapping[str, str] | None = None) -> None:
        """Start a machine, or start it again after it was killed. env: variables of its own."""
        ...

    def kill(self, number: int) -> None:
        """Kill all of its processes at once."""
        ...

    def workers(self, number: int, doing: str = "") -> list[int]:
        """Ids of its processes that make rows; doing: those alone that do that now, "load" or "make"."""
        ...


def why_no_namespaces() -> str:
    """Why there can be none here; "" where there can."""
    if not shutil.which("ip"):
        return "there is no `ip`: install iproute2"
    name = f"mmr{os.getpid()}x"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, encoding="utf-8", check=False)
    if tried.returncode:
        return f"no namespace can be made ({tried.stderr.strip()}): run it as root"
    _ip("netns", "del", name)
    return ""


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, encoding="utf-8", check=True).stdout


def _proxies() -> list[str]:
    """Variables that would send what Ray says to its own machines elsewhere."""
    return [name for name in os.environ if name.lower().endswith("_proxy")]


def _without_proxies() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _proxies()}


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace").replace("\0", " ")
    except OSError:  # it has ended
        return ""


def _named(doing: str) -> str:
    return f"{WORKER}.{doing}" if doing else WORKER


def _kill(pids: Sequence[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


class Namespaces:
    """Machines in network namespaces, joined by a bridge in one more: nothing of this machine's own network is used.

    Args:
        count: How many, the head included.
        folder: For Ray's files; with a short path, because sockets lie in it.
        env: Variables of the environment of their processes.
    """

    def __init__(self, count: int, folder: Path, env: Mapping[str, str]) -> None:
        self._folder, self._env = folder, {**_without_proxies(), **OPEN, **env}
        self._hub = f"mmr{os.getpid()}hub"
        self._names = [f"mmr{os.getpid()}n{number}" for number in range(count)]
        self.address = f"{self._host(0)}:{PORT}"
        self.inside = ["ip", "netns", "exec", self._names[0], "env", *(f"-u{name}" for name in _proxies())]
        self.inside += [f"{name}={value}" for name, value in {**OPEN, **env}.items()]

    def __enter__(self) -> Self:
        try:
            self._lay()
            for number in range(len(self._names)):
                self.start(number)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for name in [*self._names, self._hub]:
            if name in _ip("netns", "list").split():
                while pids := self._pids(name):
                    _kill(pids)
                _ip("netns", "del", name)

    def _lay(self) -> None:
        for name in [self._hub, *self._names]:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", self._hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self._hub, "link", "set", "bridge", "up")
        for number, name in enumerate(self._names):
            _ip("-n", self._hub, "link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("-n", self._hub, "link", "set", f"port{number}", "master", "bridge", "up")
            _ip("-n", name, "addr", "add", f"{self._host(number)}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")

    @staticmethod
    def _host(number: int) -> str:
        return f"10.213.77.{number + 1}"

    def start(self, number: int, env: Mapping[str, str] | None = None) -> None:
        """Start a machine, or start it again after it was killed. env: variables of its own."""
        head = ["--head", f"--port={PORT}", "--include-dashboard=false", f"--temp-dir={self._folder}"]
        words = head if number == 0 else [f"--address={self.address}"]
        subprocess.run(
            ["ip", "netns", "exec", self._names[number], sys.executable, "-m", "ray.scripts.scripts", "start", *words,
             f"--node-ip-address={self._host(number)}", "--num-cpus=1", f"--object-store-memory={MEMORY}"],
            env={**self._env, **(env or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True,
            timeout=PATIENCE,
        )  # fmt: skip

    def kill(self, number: int) -> None:
        """Kill all of its processes at once."""
        while pids := self._pids(self._names[number]):
            _kill(pids)

    def workers(self, number: int, doing: str = "") -> list[int]:
        """Ids of its processes that make rows; doing: those alone that do that now, "load" or "make"."""
        return [pid for pid in self._pids(self._names[number]) if _command_line(pid).startswith(_named(doing))]

    def cut(self, number: int) -> None:
        """No packet comes or goes any more."""
        _ip("-n", self._hub, "link", "set", f"port{number}", "down")

    def heal(self, number: int) -> None:
        """The network is whole again."""
        _ip("-n", self._hub, "link", "set", f"port{number}", "up")

    @staticmethod
    def _pids(name: str) -> list[int]:
        return [int(pid) for pid in _ip("netns", "pids", name).split()]


class Beside:
    """Machines beside each other, by `ray.cluster_utils`; their network cannot be cut.

    Args:
        count: How many, the head included.
        folder: Not used: Ray has its own.
        env: Variables of the environment of their processes, and from then on of this one.
    """

    def __init__(self, count: int, folder: Path, env: Mapping[str, str]) -> None:
        os.environ.update(OPEN | dict(env))
        self._count, self.inside, self.address = count, list[str](), ""
        self._nodes: dict[int, Any] = {}

    def __enter__(self) -> Self:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster()
        for number in range(self._count):
            self.start(number)
        self.address = self._cluster.address
        return self

    def __exit__(self, *error: object) -> None:
        self._cluster.shutdown()

    def start(self, number: int, env: Mapping[str, str] | None = None) -> None:
        """Start a machine, or start it again after it was killed. env: variables of its own."""
        self._nodes[number] = self._cluster.add_node(
            num_cpus=1, object_store_memory=MEMORY, include_dashboard=False, env_vars=dict(env or {})
        )

    def kill(self, number: int) -> None:
        """Kill all of its processes at once."""
        _kill([*self._below(self._raylet(number)), self._raylet(number)])
        self._cluster.remove_node(self._nodes.pop(number), allow_graceful=False)

    def workers(self, number: int, doing: str = "") -> list[int]:
        """Ids of its processes that make rows; doing: those alone that do that now, "load" or "make"."""
        return [pid for pid in self._below(self._raylet(number)) if _command_line(pid).startswith(_named(doing))]

    def _raylet(self, number: int) -> int:
        return int(self._nodes[number].all_processes["raylet"][0].process.pid)

    def _below(self, pid: int) -> Iterator[int]:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in task.read_text("utf-8").split():
                yield int(child)
                yield from self._below(int(child))


def here(count: int, folder: Path, env: Mapping[str, str], beside: bool = False) -> "Namespaces | Beside":
    """Those that can be made here. beside: not in namespaces, even so."""
    return (Beside if beside or why_no_namespaces() else Namespaces)(count, folder, env)
