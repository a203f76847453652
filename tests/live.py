"""`mmr serve` in a process of its own, and what it answers."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def serving(*words, files=None, **variables):
    """The address of a server, its process; `told` is what it said on stderr. files: that it may open."""
    said = tempfile.TemporaryFile()  # noqa: SIM115  a pipe that nobody reads would hold it up
    limit = ["bash", "-c", f'ulimit -n {files}; exec "$@"', "bash"] if files else []
    process = subprocess.Popen(
        [*limit, sys.executable, "-m", "cli.main", "serve", *map(str, words), "--port", "0"],
        cwd=ROOT, env=os.environ | variables, stdout=subprocess.PIPE, stderr=said, encoding="utf-8",
    )  # fmt: skip

    def told():  # the place that it writes to is the process's own
        return os.pread(said.fileno(), 1 << 20, 0).decode()

    process.told = told
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://"), told()
        yield address, process
    finally:
        process.kill()
        process.communicate()
        said.close()


def got(address, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
