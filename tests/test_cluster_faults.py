"""A cluster under faults (eval/faults/cluster.py): its instruments, and, with time, all of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from eval.faults import cluster, machines
from indexes import Record, Store
from rows import numbered

pytest.importorskip("ray")
namespaces = pytest.mark.skipif(
    bool(machines.why_no_namespaces()), reason=machines.why_no_namespaces() or "there are namespaces"
)


class Bare(machines.Namespaces):
    """The network alone, without Ray."""

    def start(self, number, env=None):
        """Nothing runs there."""


def index(path, **stamps):
    """An index of a, b, ...: the number of each one's vector is its stamp."""
    with Store.create(path, 8, root=".", source="folder") as store:
        store.add(numbered(*stamps.values(), dim=8), [Record(name, str(n)) for name, n in stamps.items()])
    return path


def setting(expected):
    return cluster.Setting(None, 3, Path(), Path(), expected)


def test_another_vector_a_missing_and_a_new_picture_are_seen(tmp_path):
    expected = cluster.content(index(tmp_path / "expected", a=0, b=1))
    assert [stamp for stamp, _ in expected.values()] == ["0", "1"]
    same = cluster.judged(setting(expected), index(tmp_path / "same", b=1, a=0))
    assert same == {"same": True, "sound": True, "pictures": 2}
    for stamps, missing, differ in (({"a": 0}, 1, 0), ({"a": 0, "b": 2}, 0, 1), ({"a": 0, "b": 1, "c": 2}, 0, 0)):
        found = cluster.judged(setting(expected), index(tmp_path / f"{stamps}", **stamps))
        assert (found["same"], found["sound"]) == (False, True)
        assert (found["missing"], found["differ"]) == (missing, differ)
    assert cluster.committed(tmp_path / "same") == 2


def test_an_index_that_is_damaged_or_gone_is_seen(tmp_path):
    expected = cluster.content(index(tmp_path / "i", a=0, b=1))
    rows = next((tmp_path / "i" / "segments").iterdir())
    held = bytearray(rows.read_bytes())
    held[0] ^= 1
    rows.write_bytes(held)
    found = cluster.judged(setting(expected), tmp_path / "i")
    assert (found["same"], found["sound"]) == (False, False)
    assert not cluster.judged(setting(expected), tmp_path / "nothing")["same"]
    assert cluster.committed(tmp_path / "nothing") == 0


LISTEN = "import socket; s = socket.create_server(('10.213.77.1', 6000)); print(flush=True)\nwhile True: s.accept()"
CALL = "import socket; socket.create_connection(('10.213.77.1', 6000), 1)"


@namespaces
def test_a_network_is_cut_and_healed_and_nothing_of_it_is_left(tmp_path):
    with Bare(2, tmp_path, {}) as two:
        listening = subprocess.Popen([*two.inside, sys.executable, "-c", LISTEN], stdout=subprocess.PIPE)
        listening.stdout.readline()

        def answers(times):
            """Times: a link that went up carries packets a second later, as the kernel tells of it in its own time."""
            other = ["ip", "netns", "exec", two._names[1], sys.executable, "-c", CALL]
            return any(subprocess.run(other, stderr=subprocess.DEVNULL).returncode == 0 for _ in range(times))

        assert answers(times=60)
        two.cut(1)
        assert not answers(times=1)
        two.heal(1)
        assert answers(times=60)
        names = [two._hub, *two._names]
    assert listening.wait(5) == -9
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert not [name for name in names if name in left]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pytest.param("namespaces", marks=namespaces), "beside"])
def test_the_index_is_that_of_one_process_whatever_fails(tmp_path_factory, monkeypatch, kind):
    """In a process of its own: Ray's variables are read once."""
    words = ["--pictures", "200", "--times", "1", *(["--beside"] if kind == "beside" else [])]
    done = subprocess.run(
        [sys.executable, "-m", "eval.faults.cluster", *words], cwd=cluster.ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('"same": true, "sound": true') == (7 if kind == "namespaces" else 5)
    assert done.stdout.count('"skipped": ') == (0 if kind == "namespaces" else 2)
