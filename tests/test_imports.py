"""What is paid for when: imports that a command does without. Who may know whom is import-linter's (pyproject.toml)."""

import subprocess
import sys
from pathlib import Path

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
