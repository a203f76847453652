"""What is paid for when: imports that a command does without. Who may know whom is import-linter's (pyproject.toml)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from terminal import mmr

ROOT = Path(__file__).resolve().parents[1]


def loaded_by(code):
    out = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    return {name if name.startswith("retrieval.") else name.split(".")[0] for name in out.stdout.split()}


def test_help_pays_for_nothing_heavy():
    assert not {"torch", "numpy", "PIL", "faiss", "datasets", "open_clip"} & loaded_by("import cli.main")


def test_a_search_pays_for_no_network_and_no_model():
    assert not {"torch", "faiss", "datasets", "open_clip", "ssl"} & loaded_by("import cli.commands.searching")


def test_a_search_pays_neither_for_indexing_nor_for_decoding():
    rooms = {"retrieval.indexing.build", "retrieval.indexing.update", "retrieval.sources.registry"}
    assert not {*rooms, "retrieval.images.load", "tarfile"} & loaded_by("import cli.commands.searching")


def test_a_sample_pays_for_no_model(tmp_path):
    code = (
        "from indexes import Store, Record\nimport numpy as np\n"
        f"store = Store.create({str(tmp_path / 'i')!r}, 2, root='.', source='folder')\n"
        "store.add(np.eye(2, dtype=np.float32), [Record(name, '', {'uri': name}) for name in 'ab'])\nstore.close()\n"
        "from cli.commands import sampling\n"
        f"sampling.run({tmp_path / 'i'!r}, 1, None, [], None, None, False, False, False)"
    )
    assert not {"torch", "faiss", "datasets"} & loaded_by(f"from pathlib import Path, PosixPath\n{code}")


def test_a_small_index_is_searched_without_faiss_or_torch(tmp_path):
    code = (
        "import numpy as np\nfrom indexes import Store, Record\n"
        f"store = Store.create({str(tmp_path / 'i')!r}, 2)\n"
        "store.add(np.eye(2, dtype=np.float32), [Record('a'), Record('b')])\n"
        "assert store.search(np.eye(2, dtype=np.float32), 1).rows.tolist() == [[0], [1]]"
    )
    assert not {"torch", "faiss"} & loaded_by(code)


def test_the_public_names_exist():
    import retrieval

    for name in retrieval.__all__:
        assert getattr(retrieval, name) is not None


def run_by(*words):
    """(exit code, what it loaded) of a command line in a process of its own, where the hub may not be asked."""
    code = (
        "import atexit, sys\nfrom cli.main import main\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        f"sys.argv = ['mmr', *{[str(word) for word in words]}]\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": "/nowhere"},
    )  # fmt: skip
    return done.returncode, {name.split(".")[0] for name in done.stderr.splitlines()[-1].split()}


@pytest.mark.parametrize(
    "words",
    [
        ["index", "{photos}", "--model", "small"], ["index", "{photos}", "--model", "smal"],
        ["classify", "{photos}/red.png", "--labels", "a,b", "--model", "small"],
        ["eval", "small", "{photos}"], ["train", "{photos}", "--model", "base", "--out", "{photos}/run"],
        ["head", "train", "small", "{photos}", "--label", "kind", "--out", "{photos}/head"],
    ],
    ids=lambda words: " ".join(words[:2]),
)  # fmt: skip
def test_no_model_is_said_before_torch_is_imported(words, photos):
    code, loaded = run_by(*(word.format(photos=photos) for word in words))
    assert code == 3
    assert not {"torch", "open_clip", "datasets"} & loaded


@pytest.mark.parametrize("kind", ["folder", "csv"])
def test_nothing_new_is_said_before_torch_is_imported(photos, trained, tmp_path, kind):
    index, source = tmp_path / "i.mmr", photos
    if kind == "csv":
        source = photos / "t.csv"
        source.write_text("image,caption\nred.png,red\nmore/green.jpg,green\n", "utf-8")
    assert mmr("index", source, "--index", index, "--model", trained).exit_code == 0
    for words in (["index", source, "--index", index], ["index", "--index", index]):
        code, loaded = run_by(*words)
        assert code == 0
        assert not {"torch", "open_clip", "datasets", "faiss"} & loaded
    code, loaded = run_by("search", "a dog", "--index", index, "--update")
    assert code == 0
    assert not {"torch", "open_clip", "datasets", "faiss"} & loaded
