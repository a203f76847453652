"""`mmr mcp`: indexes for agents, over stdin and stdout, which belong to the protocol: nothing else goes there."""

import importlib.util
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from cli.output import show
from indexes import distribution
from retrieval import find_index
from retrieval.errors import BadRequest


def run(indexes: Sequence[Path], device: str, allow: Sequence[Path]) -> None:
    """Answer agents until stdin ends. Raises BadRequest where the protocol's library is not installed, StoreError,
    MissingModel.
    """
    if importlib.util.find_spec("mcp") is None:
        raise BadRequest(f"mmr mcp needs one more library: {distribution.install('mcp')}")
    if missing := [folder for folder in allow if not folder.is_dir()]:
        raise BadRequest(f"no such folder: {missing[0]}: check --allow")
    paths = indexes or [find_index()]
    from cli.agents import server
    from cli.agents.tools import Indexes
    from cli.collection import Collection

    collections = [Collection(path, device, allow) for path in paths]
    for path, collection in zip(paths, collections, strict=True):
        if root := collection.hidden():
            show.note(f"pictures of {path} are shown where their folder is named: add --allow {shlex.quote(root)}")
    if sys.stdin.isatty():
        show.note("waiting for a client of the Model Context Protocol, which starts this itself: Ctrl-D ends it")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a thread waits for stdin: Python's own way would wait for it too
    try:
        server.made(Indexes(collections)).run("stdio")
    except BaseExceptionGroup as group:
        if group.subgroup(BrokenPipeError):  # the client went away
            raise BrokenPipeError from group
        raise
    finally:
        for collection in collections:
            collection.close()
