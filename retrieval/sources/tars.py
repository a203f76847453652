"""The members of a tar that are files, with their names as people mean them, and put together as samples.

A sample is what webdataset takes for one: members with one key, which is the path up to the first dot of its last part,
wherever in the tar they stand. `jpg`, `png` and so on is its picture, `txt` its caption, `json` its fields. Where names
have more dots than that, as 2021.01.05.png has, each picture is a sample of its own.
"""

import posixpath
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from retrieval.images.kinds import PICTURES

_KEY = re.compile(r"^((?:.*/|)[^./]+)[.]([^/]*)$")
_FIRST = ("jpg", "png", "jpeg", "webp")  # what is taken where a sample has several pictures, as open_clip's training
_PICTURES = frozenset(ending[1:] for ending in PICTURES)
# tarfile raises ReadError and its kin on damage, and on hostile headers also what its parsing runs into.
DAMAGED = (tarfile.TarError, OSError, ValueError, OverflowError, EOFError)


class Member(NamedTuple):
    """A file in a tar. name: as people mean it. stored: as it stands in the header before its data, which is that of
    another member for a link. offset, size: of its data, in bytes.
    """

    name: str
    stored: str
    offset: int
    size: int


class Sample(NamedTuple):
    """A picture with its texts. key: without the ending."""

    key: str
    picture: Member
    text: Member | None
    fields: Member | None


class Contents(NamedTuple):
    """What a tar holds. members: by their names. lost: (name, reason) of pictures that cannot be shown. damage: why the
    rest of it cannot be read, "" where all could.
    """

    members: dict[str, Member]
    lost: list[tuple[str, str]]
    damage: str


def read(path: Path) -> Contents:
    """The members of a tar, up to where it is damaged."""
    members: dict[str, Member] = {}
    links: list[tarfile.TarInfo] = []
    lost: list[tuple[str, str]] = []
    damage = ""
    try:
        with tarfile.open(path, "r:") as tar:
            for info in _headers(tar):
                name = posixpath.normpath(info.name)
                if info.islnk() or info.issym():
                    links.append(info)
                elif info.issparse() and is_picture(name):
                    lost.append((name, "a sparse file in a tar cannot be shown from: unpack it"))
                elif info.isreg() and not info.issparse():
                    if name in members and is_picture(name):
                        lost.append((name, "stands twice in the tar: the later one is taken"))
                    members[name] = Member(name, info.name, info.offset_data, info.size)
    except FileNotFoundError:
        damage = "no such file"
    except DAMAGED as error:
        damage = said_of(error)
    _resolve(links, members, lost)
    return Contents(members, lost, damage)


def said_of(error: Exception) -> str:
    """What is said of a tar whose rest cannot be read."""
    if isinstance(error, OSError) and error.errno:
        return f"cannot be read: {error.strerror}"
    return f"the tar is damaged: {(str(error) or type(error).__name__).splitlines()[0]}"[:200]


def _headers(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (info := tar.next()) is not None:
        vars(tar)["members"] = []  # tarfile would keep every header; its attribute is in no type stub
        yield info
    assert tar.fileobj is not None, "it is open"
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):  # tarfile takes half a header for the end
        raise tarfile.ReadError("a member's header cannot be read")


def _resolve(links: list[tarfile.TarInfo], members: dict[str, Member], lost: list[tuple[str, str]]) -> None:
    """Put links to members among them, under their own names; links to links as well, while there are any."""
    for _ in links:
        left = []
        for link in links:
            name = posixpath.normpath(link.name)
            start = "" if link.islnk() else posixpath.dirname(name)
            target = members.get(posixpath.normpath(posixpath.join(start, link.linkname)))
            if target is None:
                left.append(link)
            else:
                members[name] = target._replace(name=name)
        if len(left) == len(links):
            break
        links = left
    names = [(posixpath.normpath(link.name), link.linkname) for link in links]
    lost += [(name, f"a link to {to}, which is not in the tar") for name, to in names if is_picture(name)]


def is_picture(name: str) -> bool:
    """Is it a picture by its name, and no hidden one?"""
    return name.rpartition(".")[2].lower() in _PICTURES and not posixpath.basename(name).startswith((".", "__"))


def samples(contents: Contents) -> Iterator[Sample]:
    """The samples of a tar, in the order of their first members; what is left over is put among the lost."""
    groups: dict[str, dict[str, Member]] = {}
    for member in contents.members.values():
        match = _KEY.match(member.name)
        if match and not posixpath.basename(match[1]).startswith("__"):
            endings = groups.setdefault(match[1], {})
            if match[2].lower() in endings and is_picture(member.name):  # a.jpg and a.JPG
                contents.lost.append((member.name, "another picture of its sample is taken"))
            else:
                endings[match[2].lower()] = member
    for key, endings in groups.items():
        yield from _samples_of(key, endings, contents.lost)


def _samples_of(key: str, endings: dict[str, Member], lost: list[tuple[str, str]]) -> Iterator[Sample]:
    pictures = [ending for ending in (*_FIRST, *endings) if ending in endings and is_picture(f"a.{ending}")]
    plain = next((ending for ending in pictures if "." not in ending), None)
    if plain:
        yield Sample(key, endings[plain], endings.get("txt"), endings.get("json"))
    others = [ending for ending in dict.fromkeys(pictures) if ending != plain]
    for ending in others:
        stem = ending.rpartition(".")[0]
        own = {kind: endings.get(f"{stem}.{kind}") for kind in ("txt", "json")} if stem else {"txt": None, "json": None}
        if plain and not (own["txt"] or own["json"]):
            lost.append((endings[ending].name, f"another picture of its sample is taken: {endings[plain].name}"))
            continue
        name = key if len(others) == 1 and not plain else f"{key}.{stem}"
        shared = {} if plain else endings
        yield Sample(name, endings[ending], own["txt"] or shared.get("txt"), own["json"] or shared.get("json"))
