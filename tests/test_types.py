"""What tools see: the public names have types, though they are loaded late."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SNIPPET = """
from eval import evaluate
from indexes import Store
from retrieval import Retriever, load_encoder, recipes, train
encoder = load_encoder("small")
reveal_type(load_encoder)
reveal_type(Retriever)
reveal_type(train)
reveal_type(Store)
reveal_type(evaluate)
reveal_type(recipes.smoke)
reveal_type(encoder(images=None))
reveal_type(encoder.encode_texts(["a dog"]))
"""
EXPECTED = (
    "def (name: str, device: str =) -> retrieval.encoders.encoder.DualEncoder",
    "retrieval.retriever.Retriever",
    "def (pairs: ",
    "indexes.store.Store",
    "-> eval.report.Report",
    "-> retrieval.training.config.TrainConfig",
    "retrieval.datatypes.Features",
    "ndarray[",
)


@pytest.mark.parametrize("package", ["retrieval", "indexes", "eval"])
def test_the_names_for_tools_are_those_that_are_loaded(package):
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    shown = {
        alias.asname: importlib.import_module(f"{line.module}.{alias.name}")
        if (ROOT / line.module.replace(".", "/") / f"{alias.name}.py").is_file()
        else getattr(importlib.import_module(line.module), alias.name)
        for line in block.body for alias in line.names
    }  # fmt: skip
    module = importlib.import_module(package)
    assert sorted(shown) == module.__all__
    assert all(getattr(module, name) is value for name, value in shown.items())


def test_a_type_checker_knows_the_public_names(tmp_path, monkeypatch):
    api = pytest.importorskip("mypy.api")
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    (tmp_path / "snippet.py").write_text(SNIPPET)
    out, broken, _ = api.run(["--config-file", str(ROOT / "pyproject.toml"), str(tmp_path / "snippet.py")])
    assert not broken
    seen = [line for line in out.splitlines() if "snippet.py" in line]
    assert len(seen) == len(EXPECTED), out
    for line, expected in zip(seen, EXPECTED, strict=True):
        assert expected in line
        assert 'is "Any"' not in line


def test_a_name_that_is_none_is_said():
    for package in ("retrieval", "indexes", "eval"):
        with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'absent'"):
            importlib.import_module(package).absent  # noqa: B018 - asked for its error
