"""`mmr serve`: from parsed words to a server that runs until it is interrupted."""

import errno
import ipaddress
import logging
import os
import shlex
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.output import show
from indexes.sharded.opening import Reader, open_reader
from retrieval import find_index
from retrieval.errors import BadRequest
from retrieval.images import kinds
from retrieval.indexing import catalog

if TYPE_CHECKING:
    import uvicorn

    from cli.serve.guards import Guards

ENDS_WITHIN = 10  # seconds that answers under way may take when it ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What is served, and to whom. write_key: who has it may label; a token, of those who may read. ray: the
    address of the cluster whose machines hold the shards, so many replicas of each. watch: what
    changes in the folders of the indexes is indexed."""

    indexes: Sequence[Path] = ()
    host: str = "127.0.0.1"
    port: int = 8750
    roots: Sequence[Path] = ()
    host_names: Sequence[str] = ()
    origins: Sequence[str] = ()
    token: str | None = None
    write_key: str | None = None
    device: str = "auto"
    runs: Sequence[Path] = ()
    reports: Sequence[Path] = ()
    log: bool = False
    log_queries: bool = False
    ray: str | None = None
    replicas: int = 1
    watch: bool = False


def run(asked: Served) -> None:
    """Serve until Ctrl+C. Raises BadRequest for what cannot be served, StoreError for an index that cannot be read."""
    local = _is_loopback(asked.host)
    if not local and not asked.token:
        raise BadRequest(
            f"--host {asked.host} is reached by others: set a token that they must send, as MMR_TOKEN=... mmr serve ..."
        )
    if missing := next((run for run in asked.runs if not (run / "config.json").is_file()), None):
        raise BadRequest(f"{missing} is no run: give the folder that `mmr train --out` names")
    with ExitStack() as held:
        listening = listen(asked.host, asked.port)
        held.callback(listening.close)
        paths = asked.indexes or [find_index()]
        readers = {path: _reader(path, asked, held) for path in paths}
        if asked.watch:
            _watch(paths, asked.device, held)
        _serve(asked, readers, listening, local)


def _reader(path: Path, asked: Served, held: ExitStack) -> Reader:
    """What opens an index: here, or by the machines of a cluster until `held` ends."""
    if asked.ray is None:
        return open_reader
    from retrieval.cluster.serving import served

    show.note(f"the shards of {path} are brought up ({asked.replicas} of each)")
    return held.enter_context(served(path, asked.ray, asked.replicas)).read


def _watch(paths: Sequence[Path], device: str, held: ExitStack) -> None:
    """Watch the folders of these indexes until `held` ends."""
    from cli.commands import watching

    stop = threading.Event()
    threads = watching.beside(paths, watching.Watched(device=device), stop)
    for thread in threads:
        thread.start()
        held.callback(thread.join, ENDS_WITHIN)
    held.callback(stop.set)


def _serve(asked: Served, readers: Mapping[Path, Reader], listening: socket.socket, local: bool) -> None:
    import uvicorn

    from cli.serve.app import make
    from cli.serve.guards import LOOPBACK, Doors
    from cli.serve.parts import Parts
    from cli.serve.reported import Reports
    from cli.serve.shelf import Shelf, Shelves

    runs = {folder.resolve().name: folder for folder in asked.runs}
    reports = Reports(asked.reports, runs)
    reports.check()
    shelves = Shelves(Shelf(path, asked.device, asked.roots, reader=reader) for path, reader in readers.items())
    for shelf in shelves:
        if root := shelf.collection.hidden():
            show.note(f"pictures of {shelf.path} are shown where their folder is named: add --root {shlex.quote(root)}")
    hosts = tuple(name.lower() for name in (*LOOPBACK, asked.host, *asked.host_names))
    doors = Doors(hosts, tuple(asked.origins), asked.token, asked.write_key)
    log = show.note if asked.log or asked.log_queries else None
    app = make(Parts(shelves, local, asked.write_key is not None, runs, reports), doors, log, asked.log_queries)
    port = listening.getsockname()[1]
    name = f"[{asked.host}]" if ":" in asked.host else asked.host
    rows = sum(len(shelf.retriever.store) for shelf in shelves)
    show.out(f"http://{name}:{port}/")
    exposed = "" if local else f"; all of {name}'s network can reach it: pictures and captions, with the token"
    unit = kinds.counted(kind for shelf in shelves for kind in catalog.kinds(shelf.retriever.store))
    show.note(f"{rows} {unit}; Ctrl+C ends it{exposed}")
    uvicorn.Server(_config(app)).run(sockets=[listening])


def _config(app: "Guards") -> "uvicorn.Config":
    """How uvicorn serves; what it says of requests that are none, a line each, is not said."""
    import uvicorn
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    from cli.serve import connections

    if (most := connections.room()) < connections.MOST:
        show.note(
            f"at most {most} connections at once, as few files may be open: `ulimit -n {connections.FILES}` lets more"
        )
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    return uvicorn.Config(
        app, http=connections.bounded(AutoHTTPProtocol, most), ws="none", log_config=None, access_log=False,
        server_header=False, date_header=True, lifespan="on", timeout_keep_alive=15,
        timeout_graceful_shutdown=ENDS_WITHIN, proxy_headers=False,
    )  # fmt: skip


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises BadRequest where the place is taken or none."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise BadRequest(f"--host {host} is no address of this machine: leave it out for 127.0.0.1") from None
    # asyncio sends without delay only on sockets that say they are TCP's: else each answer waits 40 ms for the client.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if os.name == "posix":
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise BadRequest(_unbound(host, port, error)) from None
    listening.listen(2048)
    return listening


def _unbound(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use: give another, as --port {port + 1}, or --port 0 for any that is free"
    if error.errno == errno.EACCES:
        return f"port {port} is for the system's administrator: give one above 1023, as --port 8750"
    return f"--host {host} is no address of this machine: leave it out for 127.0.0.1"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
