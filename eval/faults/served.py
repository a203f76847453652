"""A server beside a writer: each answer is compared with what its commit held, and nothing piles up in the server.

    python -m eval.faults.served --seconds 600            # exit code 1 where anything went wrong
    python -m eval.faults.served --seconds 3 --clients 2

One process serves the index of groups.py, one changes it and tells what each commit did, and `clients` threads of this
process ask over kept connections. An answer says of which commit it is, so that what it should have been can be worked
out from the writer's story alone. What was counted is one JSON line on stdout.
"""

import argparse
import http.client
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import numpy as np

from eval.faults.groups import GROUP, GROUPS, Words, fill, put, said
from eval.faults.readers import in_memory
from indexes import Store

PAUSE = 0.02  # seconds between two commits
WARM = 0.2  # of the time, after which nothing may pile up
NEAR = 2e-3  # of a score: vectors are kept as halves
GROWN = 8.0  # MB that the memory of a server may move by without having grown


class Answer(NamedTuple):
    """What the server said to a question. text: "" for all items. least: where "group >= least" was asked."""

    generation: int
    text: str
    k: int
    least: int
    hits: Sequence[tuple[str, str, float]]  # uri, caption, score


# ---------------------------------------------------------------- the two others


def serve(path: Path) -> None:
    """Serve the index until it is ended; the port is the first line on stdout."""
    import uvicorn

    from cli.commands.serving import listen
    from cli.serve.app import make
    from cli.serve.guards import Doors
    from cli.serve.parts import Parts
    from cli.serve.shelf import Shelf, Shelves

    app = make(Parts(Shelves([Shelf(path, "cpu", (), Words())])), Doors())
    listening = listen("127.0.0.1", 0)
    _say(str(listening.getsockname()[1]))
    uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none")).run(sockets=[listening])


def write(path: Path, seed: int) -> None:
    """Change the index until stdin ends; a line for each commit: its generation, the group, its stamp or "-"."""
    draw, ended = random.Random(seed), threading.Event()
    threading.Thread(target=_when_stdin_ends, args=(ended.set,), daemon=True).start()
    with Store.open(path, write=True) as store:
        while not ended.wait(PAUSE):
            before, act, group, stamp = store.generation, draw.random(), draw.randrange(GROUPS), str(store.generation)
            if act < 0.7:
                put(store, group, stamp)
            elif act < 0.85:
                stamp = "-"
                store.delete([f"{group}/{number}" for number in range(GROUP)])
            else:
                group = -1
                store.compact()
            for generation in range(before + 1, store.generation + 1):  # compacting may take two, of the same rows
                _say(f"{generation} {group} {stamp}")


def _when_stdin_ends(then: Callable[[], None]) -> None:
    sys.stdin.read()
    then()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _start(role: str, path: Path) -> "subprocess.Popen[str]":
    given = [sys.executable, "-m", "eval.faults.served", "--role", role, "--index", str(path)]
    return subprocess.Popen(given, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")


# ---------------------------------------------------------------- clients


def ask(port: int, until: float, seed: int, answers: list[Answer], counted: Counter[str]) -> None:
    """Ask over one connection until then. Answers that are no answers are counted by their status."""
    draw = random.Random(seed)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while time.monotonic() < until:
        text = draw.choice(["", f"query {draw.randrange(50)}", said(f"{draw.randrange(GROUPS)}/0", "0")])
        k, least = draw.randint(1, 70), draw.choice([0, 0, 5])
        where = {"where": f"group >= {least}"} if least else {}
        query = urlencode({"k": k, **where, **({"q": text} if text else {})}, quote_via=quote)
        counted["asked"] += 1
        try:
            connection.request("GET", f"/api/search?{query}")
            got = connection.getresponse()
            told = json.loads(got.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            counted[type(error).__name__] += 1
            connection.close()
            continue
        if got.status != 200:
            counted[f"status {got.status}"] += 1
            sys.stderr.write(f"{got.status} {told}\n")
            continue
        hits = [(hit["uri"], hit["caption"], hit["score"] or 0.0) for hit in told["hits"]]
        answers.append(Answer(told["generation"], text, k, least, hits))
    connection.close()


def held_by(pid: int, path: Path) -> tuple[float, int]:
    """MB of memory of a process, and its descriptors; those of the index's present files, many or few, do not count."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text("utf-8"))
    files = [str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()]
    others = [one for one in files if not (one.startswith(f"{path}{os.sep}") and Path(one).exists())]
    return int(found[1]) / 1024 if found else 0.0, len(others)


# ---------------------------------------------------------------- what the answers should have been


def states(story: Sequence[str], first: int) -> Iterator[tuple[int, dict[str, str]]]:
    """Generation and id -> stamp, after each commit of a writer's lines; `first` is the one before them."""
    held = {f"{group}/{number}": "0" for group in range(GROUPS) for number in range(GROUP)}
    yield first, held
    for line in story:
        generation, group, stamp = line.split()
        if group != "-1":
            names = [f"{group}/{number}" for number in range(GROUP)]
            held = {name: kept for name, kept in held.items() if name not in names}
            held |= {} if stamp == "-" else dict.fromkeys(names, stamp)
        yield int(generation), held


@lru_cache(200_000)
def _vector(text: str) -> np.ndarray:
    return Words().encode_texts([text])[0].astype(np.float64)


def fault(answer: Answer, held: dict[str, str]) -> str:
    """What is wrong with an answer to a state, "" where nothing is."""
    wanted = {name: said(name, stamp) for name, stamp in held.items() if int(name.split("/")[0]) >= answer.least}
    count = min(answer.k, len(wanted))
    if len({uri for uri, _, _ in answer.hits}) != count or len(answer.hits) != count:
        return f"{len(answer.hits)} hits, not {count}"
    if any(wanted.get(uri) != caption for uri, caption, _ in answer.hits):
        return "items of another state"
    if not answer.text or not count:
        return ""
    query = _vector(answer.text)
    scores = {caption: float(query @ _vector(caption)) for caption in wanted.values()}
    if any(abs(scores[caption] - score) > NEAR for _, caption, score in answer.hits):
        return "another score"
    least = sorted(scores.values(), reverse=True)[count - 1]
    return "one that is nearer is left out" if min(score for *_, score in answer.hits) < least - NEAR else ""


def faults(answers: Sequence[Answer], story: Sequence[str], first: int) -> list[str]:
    """Of all of them."""
    waiting: dict[int, list[Answer]] = {}
    for answer in answers:
        waiting.setdefault(answer.generation, []).append(answer)
    found = [fault(answer, held) for number, held in states(story, first) for answer in waiting.pop(number, ())]
    return [one for one in found if one] + [f"no commit {number}" for number in waiting]


# ---------------------------------------------------------------- all of it


def soak(path: Path, seconds: float, clients: int = 8) -> dict[str, Any]:
    """All of it on a new index at `path`; what was counted. wrong: answers; grown: MB since it was warm."""
    fill(path)
    with Store.open(path) as store:
        first = store.generation
    server, writer, counted, answers = _start("serve", path), _start("write", path), Counter[str](), list[Answer]()
    story: list[str] = []
    assert server.stdout and writer.stdin, "they are pipes"
    heard = threading.Thread(target=lambda: story.extend(writer.stdout or ()))
    try:
        port = int(server.stdout.readline())
        heard.start()
        until = time.monotonic() + seconds
        given = [(port, until, seed, answers, counted) for seed in range(clients)]
        asking = [threading.Thread(target=ask, args=one) for one in given]
        for thread in asking:
            thread.start()
        time.sleep(seconds * WARM)
        warm, open_then = held_by(server.pid, path)
        for thread in asking:
            thread.join()
        writer.stdin.close()
        heard.join()
        time.sleep(1.0)  # a closed connection is noticed
        memory, still_open = held_by(server.pid, path)
    finally:
        for process in (server, writer):
            process.terminate()
            process.wait(20)
    wrong = faults(answers, story, first)
    sys.stderr.write("".join(f"{line}: {count}\n" for line, count in Counter(wrong).most_common(10)))
    return {
        "answers": len(answers), "commits": len(story), "states": len({one.generation for one in answers}),
        "wrong": len(wrong), "failed": counted["asked"] - len(answers),
        "memory_mb": round(memory), "grown_mb": round(memory - warm, 1),
        "descriptors": max(0, still_open - (open_then - clients)),
    }  # fmt: skip


def main() -> None:
    """Run it, or one process of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=8)
    for name in ("--role", "--index"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role:
        serve(Path(given.index)) if given.role == "serve" else write(Path(given.index), 0)
        return
    with in_memory() as scratch:
        counted = soak(Path(scratch) / "index", given.seconds, given.clients)
    sys.stdout.write(json.dumps({"seconds": given.seconds, **counted}) + "\n")
    sys.exit(1 if counted["wrong"] or counted["failed"] or counted["descriptors"] or counted["grown_mb"] > GROWN else 0)


if __name__ == "__main__":
    main()
