"""Nothing that mmr starts reports home: no process opens a socket or writes anywhere but where it was told to.

The kernel watches: a filter that a process and its children cannot take off ends whoever asks for a socket, native code
like Python's. Home, temporary and cache folders are new ones, so what is written there is seen.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from retrieval import reporting

ROOT = Path(__file__).resolve().parents[1]
# A command line, what stands at its standard input, and below what it may write; one more command is one more line.
COMMANDS = [
    (["train", "{book}/pairs.csv", "--out", "run", "--recipe", "smoke", "--set", "epochs=1"], None, {"run"}),
    (["index", "{book}", "--index", "photos.mmr", "--model", "run"], None, {"photos.mmr", "cache"}),
    (["search", "--queries", "-", "--index", "photos.mmr"], "a dog\na red car\n", {"cache"}),
    (["search", "{book}/000.png", "--index", "photos.mmr"], None, {"cache"}),  # the picture tower, exported first
]
BARRED = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from test_reporting import bar_sockets
bar_sockets()
"""


class _Step(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("k", ctypes.c_uint)]


class _Program(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("steps", ctypes.POINTER(_Step))]


def bar_sockets():
    """From here on this process and its children die of SIGSYS where they ask for a socket that leaves the machine.

    A Unix socket does not: the C library looks for its cache of users' names through one. Raises OSError.
    """
    steps = (_Step * 6)(
        _Step(0x20, 0, 0, 0),  # the number of the call
        _Step(0x15, 0, 3, 41),  # is it socket(2)?
        _Step(0x20, 0, 0, 16),  # its first argument
        _Step(0x15, 1, 0, 1),  # is it AF_UNIX?
        _Step(0x06, 0, 0, 0x80000000),  # end the process
        _Step(0x06, 0, 0, 0x7FFF0000),  # let it through
    )
    kernel, program = ctypes.CDLL(None, use_errno=True), _Program(6, steps)
    if kernel.prctl(38, 1, 0, 0, 0) or kernel.prctl(22, 2, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "no filter of system calls here")


def python(code, folder, typed=None, **environment):
    """A Python process without sockets in a folder of its own, whose home and temporary folder are there too."""
    own = {"HOME": folder / "home", "TMPDIR": folder / "tmp", "MMR_CACHE": folder / "cache"}
    for place in own.values():
        place.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if name not in reporting.SWITCHES}
    return subprocess.run(
        [sys.executable, "-c", BARRED + code], cwd=folder, input=typed, capture_output=True, text=True,
        env=kept | {name: str(place) for name, place in own.items()}
        | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment},
    )  # fmt: skip


def written(folder):
    """What lies in a folder: path -> (when it was written, bytes); folders are told by what is in them."""
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    return {path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder to start processes in. Skips where the kernel cannot be asked to watch."""
    if not (sys.platform == "linux" and os.uname().machine == "x86_64"):
        pytest.skip("sockets are barred on Linux on x86-64 only")
    folder = tmp_path_factory.mktemp("alone")
    if python("", folder).returncode:
        pytest.skip("this kernel takes no filter of system calls")
    return folder


def test_the_watch_sees_a_socket(place):
    assert python("import socket; socket.socket()", place).returncode == -signal.SIGSYS


@pytest.mark.parametrize(("words", "typed", "places"), COMMANDS, ids=lambda part: part[0] if type(part) is list else "")
def test_a_command_opens_no_socket_and_writes_where_it_was_told_to(words, typed, places, place, book):
    before = written(place) | written(book)
    words = [word.format(book=book) for word in words]
    done = python(f"sys.argv = ['mmr', *{words}]\nfrom cli.main import main\nmain()", place, typed)
    assert done.returncode == 0, done.stderr
    new = {path for path, state in (written(place) | written(book)).items() if before.get(path) != state}
    assert {path for path in new if path.split("/")[0] not in places} == set()


@pytest.mark.parametrize("draws", [
    "from retrieval.training import curves as c; c.figure_of([c.Panel('Loss', {'': [(0, 2.0), (1, 1.0)]})])",
    "from pathlib import Path; from eval import confusion as c; c.require(Path('c.png')); c.families('a')",
])  # fmt: skip
def test_what_is_drawn_leaves_its_fonts_in_the_cache(place, draws):
    pytest.importorskip("matplotlib")
    shutil.rmtree(place / "cache/matplotlib", ignore_errors=True)
    done = python(draws, place, MPLCONFIGDIR="")
    assert done.returncode == 0, done.stderr
    assert list((place / "cache/matplotlib").glob("fontlist-*.json")) and not list((place / "home").rglob("fontlist-*"))


def test_the_library_alone_reports_nothing_either(place):
    done = python("import retrieval, onnxruntime, huggingface_hub.constants as c, datasets.config as d\n"
                  "assert c.HF_HUB_DISABLE_TELEMETRY and not d.HF_UPDATE_DOWNLOAD_COUNTS", place)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list((place / "home").rglob("*deviceid*")) == []


def test_what_a_person_said_stands():
    environment = {"HF_HUB_DISABLE_TELEMETRY": "0"}
    reporting.decline(environment)
    assert environment == reporting.SWITCHES | {"HF_HUB_DISABLE_TELEMETRY": "0"}


def test_a_runtime_that_was_there_before_is_told_as_well(monkeypatch, trained):
    import onnxruntime

    from retrieval.encoders import query_encoder
    from retrieval.encoders.load import load_run

    told = []
    query_encoder.ensure_exported(load_run(trained))
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: told.append(True))
    assert query_encoder.open_query_encoder(load_run(trained).fingerprint, lambda: None) is not None
    assert told
