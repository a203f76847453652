"""A part in a process of its own: what it measured, and how it ended."""

import importlib
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, ForkServerContext
from pathlib import Path
from typing import NamedTuple

from eval.bench.gpu import bare
from eval.bench.gpu.parts import Part
from eval.bench.gpu.place import Figure, Place, Skipped

OWN = ("retrieval", "indexes", "eval", "cli")
LEAVES = 10.0  # seconds in which a process ends that has said all
DIED = "its process died"


class Ending(NamedTuple):
    """How a part ended. status: "ok", "skipped", "failed" or "not reached"; reason: "" where all is well."""

    status: str
    reason: str = ""


@dataclass(slots=True)
class Result:
    """What came of a part."""

    ending: Ending = Ending("not reached", "the deadline came before it")
    seconds: float = 0.0
    figures: list[Figure] = field(default_factory=list)


def run(
    part: Part, device: str, context: ForkServerContext | ForkContext, most: float, on_figure: Callable[[Figure], None]
) -> Result:
    """Run a part for at most its own seconds and `most`, what is left until the deadline; then it is killed."""
    result, started = Result(), time.monotonic()
    if most <= 0:
        return result
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(part.where, Place(device, Path(folder)), theirs))
        process.start()
        theirs.close()  # so that its end is seen here
        end = started + min(part.seconds, most)
        while isinstance(message := _next(ours, end), Figure):
            result.figures.append(message)
            on_figure(message)
        process.join(LEAVES if message else 0)  # a device that is broken lets nobody go
        process.kill()
        process.join()
    result.seconds = time.monotonic() - started
    result.ending = _judged(message or _late(part, most), result.figures, process.exitcode)
    return result


def _next(pipe: Connection, end: float) -> "Figure | Ending | None":
    """What the part says next; None where its time is over first."""
    if not pipe.poll(max(0.0, end - time.monotonic())):
        return None
    try:
        return pipe.recv()
    except (EOFError, OSError):  # the second within a message
        return Ending("failed", DIED)


def _late(part: Part, most: float) -> Ending:
    if most < part.seconds:
        return Ending("not reached", "the deadline came before its end")
    return Ending("failed", f"it was stopped after {part.seconds:g} s, which are all it may take")


def _judged(ending: Ending, figures: list[Figure], code: int | None) -> Ending:
    if ending.reason == DIED:
        return Ending("failed", f"{DIED} with exit code {code}")
    wrong = [figure.name for figure in figures if figure.is_wrong]
    if wrong and ending.status != "failed":
        return Ending("failed", f"more than they may be: {'; '.join(wrong)}")
    return ending


def work(where: str, place: Place, pipe: Connection) -> None:
    """In the process of a part: send each figure, then the Ending."""
    bare.stand_in()
    module, _, function = where.partition(":")
    try:
        for figure in getattr(importlib.import_module(f"eval.bench.gpu.{module}"), function)(place):
            pipe.send(figure)
        pipe.send(Ending("ok"))
    except Skipped as error:
        pipe.send(Ending("skipped", str(error)))
    except ModuleNotFoundError as error:
        ours = (error.name or "").partition(".")[0] in OWN
        pipe.send(Ending("failed", str(error)) if ours else Ending("skipped", f"{error.name} is not installed"))
    except Exception as error:  # whatever it is, it is this part's alone
        traceback.print_exc()
        pipe.send(Ending("failed", f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"))
