"""A connection to Ray: a cluster that runs, or one of this machine alone for as long as a command does.

    local       started for this command on this machine, and ended with it
    auto        the cluster that this machine is a node of
    HOST:PORT   the same, by the address of its head

Ray's extra is `cluster`. What Ray would say of its own on the terminal is not heard: errors come as one line.
"""

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from indexes.distribution import install
from retrieval.errors import BadRequest, first_line

LOCAL, AUTO = "local", "auto"
PATIENCE = 5.0  # seconds for the head of a cluster to take a connection: Ray itself would try for many minutes
_WAITS = {
    "RAY_NUM_REDIS_GET_RETRIES": "1",  # times that it asks something that took the connection and is no head
    "RAY_raylet_start_wait_time_s": "120",  # on a machine that is busy its own thirty seconds are too few
}
_QUIET = {
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1", "RAY_TRAIN_V2_ENABLED": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0", "RAY_IGNORE_UNHANDLED_ERRORS": "1",
}  # fmt: skip

_ALONE: dict[str, Any] = {"include_dashboard": False}


def required() -> ModuleType:
    """Ray, imported. Raises BadRequest where it is not installed."""
    for name, value in (_QUIET | _WAITS).items():  # read when it is imported
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise BadRequest(f"Ray is not installed, which runs over many machines: {install('cluster')}") from error
    _keep_off_stdout()
    return ray


def _keep_off_stdout() -> None:
    """Standard output is data. What Ray prints there of workers that died, which no setting stops, is not printed."""
    from ray._private import worker

    if hasattr(worker, "print_to_stdstream"):  # it is no part of what Ray promises
        worker.print_to_stdstream = lambda *given, **named: None


@contextlib.contextmanager
def connected(address: str) -> Iterator[ModuleType]:
    """Ray, connected to a cluster for as long as this is entered; one that was connected before is taken as it is.

    Args:
        address: "local", "auto" or HOST:PORT.

    Yields:
        The module `ray`.

    Raises:
        BadRequest: Ray is not installed, no cluster answers there, or it runs another version of Ray or Python.
    """
    ray = required()
    if ray.is_initialized():
        yield ray
        return
    if address not in (LOCAL, AUTO):
        _must_answer(address)
    if address != LOCAL:
        _show_token()
    try:
        with quiet():
            ray.init(
                address=address, logging_level=logging.CRITICAL, log_to_driver=False, configure_logging=False,
                **_ALONE if address == LOCAL else {},
            )  # fmt: skip
    except Exception as error:  # where a node does not come up in time it is a bare one
        raise _explained(address, error) from error
    try:
        yield ray
    finally:
        ray.shutdown()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What is written to this process's standard error meanwhile is not seen: Ray writes there past Python."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - no file
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


def _show_token() -> None:
    """Send the token of Ray's clusters where this user has one, as `ray start` then asks for it.

    Ray itself does so only where RAY_AUTH_MODE says it, and keeps what that said when it was imported.
    """
    with contextlib.suppress(ImportError, AttributeError), quiet():  # it is no part of what Ray promises
        from ray._private.authentication import authentication_token_setup

        authentication_token_setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def _must_answer(address: str) -> None:
    """Raise BadRequest where nothing takes a connection at HOST:PORT."""
    host, _, port = address.rpartition(":")
    if "//" in address or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise BadRequest(
            f"`{address}` is no address of a cluster: write local, auto, or the HOST:PORT of its head, from a machine "
            "that is one of its nodes"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except OSError as error:
        raise _silent(address) from error


def _silent(address: str) -> BadRequest:
    return BadRequest(
        f"no Ray cluster answers at {address}: start one with `ray start --head` and join it from other machines with "
        "`ray start --address HOST:6379`, or use --ray local"
    )


def _refused(address: str) -> BadRequest:
    return BadRequest(
        f"no Ray cluster answers at {address} to the token of this user: copy ~/.ray/auth_token from its head, or set "
        "RAY_AUTH_MODE=disabled where it was started so"
    )


def _explained(address: str, error: Exception) -> BadRequest:
    text = str(error)
    if "ersion mismatch" in text or "Python version" in text:
        said = " ".join(text.split())[:160]
        return BadRequest(f"the cluster at {address} runs other versions than this machine ({said}): install the same")
    if isinstance(error, ConnectionError):
        token = os.environ.get("RAY_AUTH_MODE") == "token" and address not in (LOCAL, AUTO)
        return _refused(address) if token else _silent(address)
    return BadRequest(f"Ray could not be started ({first_line(error)}): see `ray status`, or leave out --ray")
