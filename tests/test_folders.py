"""What of a folder is indexed, and what is left out."""

import os

import pytest
from PIL import Image

from retrieval.errors import BadRequest, ImageError
from retrieval.images.load import load
from retrieval.sources.registry import Options, open_items, parse_uri


@pytest.fixture
def tree(tmp_path):
    def make(*names):
        for name in names:
            path = tmp_path / "root" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4)).save(path, "PNG")
        return tmp_path / "root"

    return make


def found(root, **options):
    return [item.uri for item in open_items(parse_uri(str(root), Options(**options)))]


def test_what_programs_keep_beside_pictures_is_left_out(tree):
    junk = ["@eaDir/a.png", ".thumbnails/a.png", "node_modules/x/a.png", ".git/a.png",
            "System Volume Information/a.png", "$RECYCLE.BIN/a.png", "lost+found/a.png", "x/__MACOSX/a.png",
            "photos.mmr/a.png"]  # fmt: skip
    root = tree("a.png", "x/b.png", *junk)
    assert found(root) == ["a.png", "x/b.png"]
    assert found(root, include_hidden=True) == ["a.png", "x/b.png"]


def test_hidden_names_where_they_are_wanted(tree):
    root = tree(".a.png", ".x/b.png", "c.png")
    assert found(root) == ["c.png"]
    assert found(root, include_hidden=True) == [".a.png", "c.png", ".x/b.png"]


@pytest.mark.parametrize(
    ("globs", "expected"),
    [
        (["*.jpg"], ["a.png", "x/b.png", "x/y/c.png"]),
        (["x/"], ["a.jpg", "a.png"]),
        (["/a.*"], ["x/b.png", "x/y/c.png"]),
        (["**/y/**"], ["a.jpg", "a.png", "x/b.png"]),
        (["*.png", "!b.png"], ["a.jpg", "x/b.png"]),
    ],
)
def test_exclude_reads_as_git_does(tree, globs, expected):
    assert found(tree("a.png", "a.jpg", "x/b.png", "x/y/c.png"), exclude=tuple(globs)) == expected


def test_a_nearer_ignore_file_has_the_last_word(tree):
    root = tree("a.png", "x/a.png", "x/b.png", "out/a.png")
    (root / ".mmrignore").write_text("# none of these\na.png\nout/\n")
    (root / "x" / ".mmrignore").write_text("!a.png\nb.png\n")
    assert found(root) == ["x/a.png"]


def test_loops_of_links_end_and_links_to_files_are_pictures(tree):
    root = tree("a.png", "x/b.png")
    (root / "x" / "loop").symlink_to(root)
    (root / "c.png").symlink_to(root / "a.png")
    (root / "gone.png").symlink_to(root / "nothing")
    assert found(root) == ["a.png", "c.png", "gone.png", "x/b.png"]


def test_a_folder_that_cannot_be_read_is_listed(tree, monkeypatch):
    root = tree("a.png", "x/b.png", "y/c.png")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("x"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    items = {item.uri: item for item in open_items(str(root))}
    assert set(items) == {"a.png", "x", "y/c.png"}
    with pytest.raises(ImageError, match="cannot be read: Permission denied"):
        load(items["x"])


def test_what_is_known_without_opening_the_file(tree):
    root = tree("2024/spring/a.png")
    os.utime(root / "2024" / "spring" / "a.png", (1_717_245_000, 1_717_245_000))
    (item,) = open_items(str(root))
    size = (root / "2024" / "spring" / "a.png").stat().st_size
    assert item.meta == {"folder": "2024/spring", "size": size, "modified": "2024-06-01T12:30:00Z"}


def test_a_clip_is_told_by_its_name(tree):
    root = tree("a.png")
    (root / "b.MOV").write_bytes(b"x")
    assert [(item.uri, item.kind, item.meta.get("video")) for item in open_items(str(root))] == [
        ("a.png", "picture", None),
        ("b.MOV", "clip", True),
    ]


def test_a_folder_has_no_columns(tree):
    with pytest.raises(BadRequest, match="a folder has no columns"):
        list(open_items(f"folder:{tree('a.png')}?split=train"))
