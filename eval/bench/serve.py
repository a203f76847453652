"""Queries a second of `mmr serve`, and their times, beside clip-retrieval's back end and FastAPI with FAISS Flat.

    python -m eval.bench.serve                  # 10,000 rows and 500,000; 1, 16 and 64 clients; memory
    python -m eval.bench.serve 10k --quick
    python -m eval.bench.serve memory           # of 10,000 rows, both towers asked

wrk (Debian's package of that name) asks each in turn with words that change with each request, over kept connections,
for some seconds. All have the same vectors and the same random weights of ViT-B-32-256, and answer ten rows with their
captions' names, without pictures. A figure is beside the better of the two. The plain server is what one writes in an
afternoon: serve_peers.py. Memory is what a server and its children hold after words and a picture were asked, in MB.
"""

import argparse
import base64
import io
import json
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from eval.bench import figure, note
from eval.bench.cold_query import lay_out
from eval.bench.indexing import in_ours, model_name, own_environment, peer

CLIENTS = (1, 16, 64)
ROWS = {"10k": 10_000, "500k": 500_000}
MEMORY, GOAL = "memory", 280 * 1.048576  # MB
SECONDS, ROUNDS, WAITED = 6, 3, 300.0
_WORDS = "dog red car beach night child river snow old house green boat street bird market kitchen tree bridge".split()
_SCRIPT = """
local words, ask = {%s}, %s
local number = math.random(1e6)
request = function()
  number = number + 1
  local text = words[number %% #words + 1] .. " " .. words[math.floor(number / 7) %% #words + 1] .. " " .. number
  return ask(text)
end
"""
_GET = """function(text) return wrk.format("GET", "%s" .. string.gsub(text, " ", "+")) end"""
_KNN = """function(text)
  return wrk.format("POST", "/knn-service", {["Content-Type"] = "application/json"},
    '{"text":"' .. text .. '","modality":"image","num_images":10,"indice_name":null}')
end"""


class Asked(NamedTuple):
    """What wrk measured. p50, p99: milliseconds; all of the time, where nobody was answered."""

    per_second: float
    p50: float
    p99: float


class Server(NamedTuple):
    """One that is measured.

    command: what starts it, where {port} is the port. ask: of wrk's script. picture: asks with one, at an address.
    """

    name: str
    command: Sequence[str]
    ask: str
    alive: str
    picture: Callable[[str], None] | None = None


def servers(folder: Path) -> list[Server]:
    """Ours and the peers that are here."""
    ours = [sys.executable, "-m", "cli.main", "serve", str(folder / "index"), "--port", "{port}", "--device", "cpu"]
    plain = [sys.executable, "-m", "eval.bench.serve_peers", str(folder), "{port}"]
    found = [
        Server("mmr", ours, _GET % "/api/search?k=10&q=", "/healthz", _picture_to_ours),
        Server("fastapi-faiss", plain, _GET % "/search?q=", "/docs"),
    ]
    back = peer("clip-retrieval", "clip-retrieval")
    asked = [back, "back", "--port", "{port}", "--indices_paths", str(folder / "indices.json"),
             "--clip_model", model_name(), "--enable_hdf5", "False", "--provide_safety_model", "False",
             "--provide_violence_detector", "False", "--enable_mclip_option", "False",
             "--provide_aesthetic_embeddings", "False",
             "--columns_to_return", '["caption"]']  # fmt: skip
    return [*found, Server("clip-retrieval", asked, _KNN, "/indices-list", _picture_to_theirs)]


def _photo() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((640, 480), 60).convert("RGB").save(file, "JPEG")
    return file.getvalue()


def _picture_to_ours(address: str) -> None:
    with urllib.request.urlopen(f"{address}/api/search?k=10", _photo(), timeout=WAITED):
        pass


def _picture_to_theirs(address: str) -> None:
    said = {"image": base64.b64encode(_photo()).decode(), "modality": "image", "num_images": 10, "indice_name": None}
    with urllib.request.urlopen(f"{address}/knn-service", json.dumps(said).encode(), timeout=WAITED):
        pass


@contextmanager
def running(server: Server, folder: Path) -> Iterator[tuple[int, int]]:
    """Start it; its port and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [part.replace("{port}", str(port)) for part in server.command]
    with (folder / f"{server.name}.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=Path.cwd(), env=own_environment(), stdout=log, stderr=log)
    try:
        until = time.monotonic() + WAITED
        while not _answers(f"http://127.0.0.1:{port}{server.alive}"):
            if process.poll() is not None or time.monotonic() > until:
                sys.exit(f"{server.name} does not start:\n{(folder / f'{server.name}.log').read_text('utf-8')[-2000:]}")
            time.sleep(0.2)
        yield port, process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except OSError:
        return False


def ask(server: Server, port: int, clients: int, seconds: int, folder: Path) -> Asked:
    """Have wrk ask it."""
    script = folder / "ask.lua"
    script.write_text(_SCRIPT % (", ".join(f'"{word}"' for word in _WORDS), server.ask), "utf-8")
    told = subprocess.run(
        ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "--latency", "-s", str(script),
         f"http://127.0.0.1:{port}/"],
        capture_output=True, encoding="utf-8", check=True,
    ).stdout  # fmt: skip
    if wrong := re.search(r"Non-2xx or 3xx responses: (\d+)|Socket errors: .*[1-9]", told):
        sys.exit(f"{server.name}: {wrong[0]}")
    per_second = re.search(r"Requests/sec:\s+([\d.]+)", told)
    assert per_second, told
    if not float(per_second[1]):
        return Asked(0.0, 1e3 * seconds, 1e3 * seconds)
    return Asked(float(per_second[1]), _share(told, "50"), _share(told, "99"))


def _share(told: str, share: str) -> float:
    found = re.search(rf"^\s+{share}%\s+([\d.]+)(us|ms|s)", told, re.MULTILINE)
    assert found, told
    return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[found[2]]


def memory(pid: int) -> float:
    """MB that a process and its children hold."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split()
    held = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text("utf-8"))
    return (int(held[1]) / 1024 if held else 0.0) + sum(memory(int(child)) for child in children)


def weigh() -> None:
    """Memory after both towers were asked."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _fill(folder, "10k")
        held = {}
        for server in servers(folder):
            if server.picture is None:
                continue
            with running(server, folder) as (port, pid):
                ask(server, port, 1, 1, folder)
                words = memory(pid)
                server.picture(f"http://127.0.0.1:{port}")
                held[server.name] = memory(pid)
                note(
                    f"memory: {server.name} {words:.0f} MB after words, {held[server.name]:.0f} after a picture as well"
                )
    peer_name = "clip-retrieval"
    theirs = held[peer_name]
    figure("memory", [held["mmr"]], [theirs], peer_name, 1, theirs / GOAL, smaller_is_better=True)


def _fill(folder: Path, name: str) -> None:
    lay_out(folder, ROWS[name])
    done = in_ours("eval.bench.cold_query", "--fill", str(folder), "--model", model_name())
    note(f"{name}: {done.stdout.strip()} ({done.seconds:.0f} s)")
    in_ours("eval.bench.serve_peers", str(folder), "--indices")


def compare(name: str, seconds: int, rounds: int) -> None:
    """The figures of one collection."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _fill(folder, name)
        found: dict[str, dict[int, list[Asked]]] = {}
        for server in servers(folder):
            with running(server, folder) as (port, pid):
                ask(server, port, 4, 2, folder)  # what is loaded late is loaded
                found[server.name] = {
                    clients: [ask(server, port, clients, seconds, folder) for _ in range(rounds)] for clients in CLIENTS
                }
                note(f"{name}: {server.name} {memory(pid):.0f} MB; {_told(found[server.name])}")
    peers = [one for one in found if one != "mmr"]
    best = max(peers, key=lambda one: _median(found[one][64], 0))
    figure(f"{name}-64", _of(found["mmr"][64], 0), _of(found[best][64], 0), best, 3, 6)
    best = min(peers, key=lambda one: _median(found[one][16], 2))
    figure(f"{name}-p99", _of(found["mmr"][16], 2), _of(found[best][16], 2), best, 1, 2, smaller_is_better=True)


def _told(found: Mapping[int, Sequence[Asked]]) -> str:
    return "; ".join(
        f"{clients} clients {_median(asked, 0):.0f}/s, p50 {_median(asked, 1):.1f} ms, p99 {_median(asked, 2):.1f}"
        for clients, asked in found.items()
    )


def _of(asked: Sequence[Asked], place: int) -> list[float]:
    return [one[place] for one in asked]


def _median(asked: Sequence[Asked], place: int) -> float:
    return statistics.median(_of(asked, place))


def main() -> None:
    """The figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join([*ROWS, MEMORY])}; all, if none is given")
    parser.add_argument("--quick", action="store_true", help="one round of two seconds")
    asked = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is not here: apt-get install wrk")
    if unknown := set(asked.names) - {*ROWS, MEMORY}:
        parser.error(f"no figure {', '.join(unknown)}")
    for name in asked.names or (*ROWS, MEMORY):
        if name == MEMORY:
            weigh()
        else:
            compare(name, 2 if asked.quick else SECONDS, 1 if asked.quick else ROUNDS)


if __name__ == "__main__":
    main()
