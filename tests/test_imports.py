"""The picture of house.md section 3: who may know whom, and what is paid for when."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("indexes", "retrieval", "eval", "cli")
MAY_IMPORT = {
    "indexes": {"indexes"},
    "retrieval": {"retrieval", "indexes"},
    "eval": {"eval", "retrieval", "indexes"},
    "cli": {"cli", "eval", "retrieval", "indexes"},
}
# One module per outside dependency: where it may be imported, at any depth of the file.
ONLY_IN = {
    "open_clip": {"retrieval/towers/open_clip_towers.py"},
    "timm": {"retrieval/towers/timm_tower.py"},
    "huggingface_hub": {"retrieval/towers/hub.py", "retrieval/cached.py"},
    "datasets": {"retrieval/tables.py"},
    "pyarrow": {"retrieval/places.py", "retrieval/exchange/tables.py"},
    "pathspec": {"retrieval/folders.py"},
    "pillow_heif": {"retrieval/guard.py"},
    "av": {"retrieval/video.py"},
    "http": {"retrieval/web.py"},
    "tokenizers": {"retrieval/tokenizer.py"},
    "tensorboard": set(),
    "peft": {"retrieval/lora.py"},
    "onnxruntime": {"retrieval/runtime.py"},
    "faiss": {
        "indexes/exact.py",
        "indexes/ann.py",
        "indexes/ann_file.py",
        "indexes/gpu.py",
        "indexes/mapped.py",
        "indexes/rerank.py",
        "indexes/tune.py",
    },
    "ftfy": {"retrieval/clip_tokenizer.py"},
    "regex": {"retrieval/clip_tokenizer.py"},
    "sqlite3": {
        "indexes/store.py",
        "indexes/items.py",
        "indexes/database.py",
        "cli/show.py",
        "cli/complete.py",
        "retrieval/clip_tokenizer.py",
        "retrieval/exchange/rclip.py",
    },
    "filelock": {"indexes/claim.py", "indexes/store.py"},
    "typer": {
        "cli/main.py",
        "cli/show.py",
        "cli/options.py",
        "cli/complete.py",
        "cli/searching.py",
        "cli/listing.py",
        "cli/exchange.py",
        "cli/heads.py",
    },
    "textual_image": {"cli/preview.py"},
    "rich": {"cli/preview.py"},
}


def modules():
    return [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")) if "bench" not in path.parts]


def imported(path):
    """The top-level names of every import of a file, late ones included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            yield node.module.split(".")[0]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_import_goes_down(path):
    room = path.relative_to(ROOT).parts[0]
    name = path.relative_to(ROOT).as_posix()
    for module in set(imported(path)):
        if module in ROOMS:
            assert module in MAY_IMPORT[room], f"{name} must not know {module}"
        if module in ONLY_IN:
            assert name in ONLY_IN[module], f"{module} is imported in {sorted(ONLY_IN[module])} only"


def loaded_by(code):
    out = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    return {name.split(".")[0] for name in out.stdout.split()}


def test_help_pays_for_nothing_heavy():
    assert not {"torch", "numpy", "PIL", "faiss", "datasets", "open_clip"} & loaded_by("import cli.main")


def test_a_search_pays_for_no_network_and_no_model():
    assert not {"torch", "faiss", "datasets", "open_clip", "ssl"} & loaded_by("import cli.searching")


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
