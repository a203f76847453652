"""`mmr serve` as a process: it says where it is, serves, stops at a signal, and says what is wrong before it begins."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.commands import serving as serving_command
from terminal import fails, mmr

ROOT = Path(__file__).resolve().parents[1]
PEER = ROOT / ".venv-peers" / "clip-retrieval" / "bin" / "python"


@contextmanager
def serving(*words, **variables):
    """The address of a server, its process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "serve", *map(str, words), "--port", "0"],
        cwd=ROOT, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://"), process.stderr.read()
        yield address, process
    finally:
        process.kill()
        process.communicate()


def got(address, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_it_answers_and_ends_at_a_signal(indexed, tmp_path):
    report = tmp_path / "eval.json"
    report.write_text('{"examples": 1, "classes": 0, "interval": [0, 1], "accuracy": 1}')
    with serving(indexed, "--report", report) as (address, process):
        assert got(f"{address}api/reports")[1]["reports"] == [{"name": "eval", "kinds": ["head"], "problem": None}]
        status, said = got(f"{address}api/search?q=a+dog&k=1")
        assert (status, len(said["hits"])) == (200, 1)
        assert got(f"{address}api/nothing")[0] == 404
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stdout.read() == ""


def test_elsewhere_than_here_only_with_a_token(indexed):
    fails(mmr("serve", indexed, "--host", "0.0.0.0"), 2, "is reached by others", "as MMR_TOKEN=... mmr serve ...")
    with serving(indexed, "--host", "0.0.0.0", MMR_TOKEN="open sesame") as (address, _):
        here = address.replace("0.0.0.0", "127.0.0.1")
        assert got(f"{here}api/info")[0] == 401
        status, said = got(f"{here}api/info", Authorization="Bearer open sesame")
        assert (status, said["local"], said["indexes"][0]["root"]) == (200, False, None)


def test_answers_are_sent_without_delay():
    """asyncio turns Nagle's algorithm off only for sockets whose protocol is TCP by name."""
    with serving_command.listen("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


def test_what_cannot_be_served_is_a_line(indexed, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        fails(mmr("serve", indexed, "--port", port), 2, f"port {port} is in use", "--port 0 for any that is free")
    fails(mmr("serve", indexed, "--port", 0, "--run", tmp_path), 2, "is no run", "`mmr train --out` names")
    fails(mmr("serve", tmp_path / "none", "--port", 0), 3, "none", "mmr index")
    fails(
        mmr("serve", indexed, "--host", "no.such.host.invalid", "--token", "x"),
        2,
        "is no address",
        "leave it out for 127.0.0.1",
    )


@pytest.mark.skipif(not PEER.exists(), reason="clip-retrieval is not installed beside: make bench")
def test_clip_retrievals_own_client_is_answered(indexed, book):
    code = (
        "import sys, json; from clip_retrieval.clip_client import ClipClient, Modality\n"
        "client = ClipClient(url=sys.argv[1] + 'knn-service', indice_name=sys.argv[2], modality=Modality.IMAGE,\n"
        "                    num_images=3, deduplicate=False)\n"
        "print(json.dumps(client.query(text='a dog')))"
    )
    with serving(indexed, "--root", book) as (address, _):
        name = got(f"{address}api/info")[1]["indexes"][0]["name"]
        done = subprocess.run(
            [PEER, "-c", code, address, name], capture_output=True, encoding="utf-8", check=True, timeout=120
        )
    found = json.loads(done.stdout)
    assert len(found) == 3
    assert all(one["similarity"] and one["image"] for one in found)
