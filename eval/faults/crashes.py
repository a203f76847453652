"""Every folder that a power cut could have left: rebuilt from the record of a piece of work (syscalls.py).

The rules are those of POSIX, not of one kind file system. After a power cut,
- data written to a file is there if the file was synced since; otherwise each write may be there, missing, torn in the
  middle or read as zeros, whatever the others did;
- a name made, changed or removed in a folder is so if the folder was synced since; otherwise any first part of a
  folder's unsynced changes may be (file systems keep their order).
A SIGKILL loses nothing that was written: that is the state in which everything is there.
"""

import hashlib
import itertools
import random
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from eval.faults.syscalls import Call

Files = dict[str, bytes | None]  # by path under root; None is a folder

_DATA = ("write", "truncate")
_NAMES = ("create", "rename", "unlink", "mkdir", "rmdir", "link")


@dataclass(frozen=True, slots=True)
class Crash:
    """point: how many calls were done. what: the fault, for people. acknowledged: promises given before it."""

    point: int
    what: str
    acknowledged: int
    files: Files


def crashes(
    before: Files, calls: Sequence[Call], extra: int = 0, seed: int = 0, points: Container[int] | None = None
) -> Iterator[Crash]:
    """The states that a crash before each call, and after the last one, could have left.

    before: the files at the start, all durable. extra: that many more states a point, with random subsets. points: only
    where so many calls were done.
    """
    rng = random.Random(seed)
    for point in range(len(calls) + 1):
        if points is not None and point not in points:
            continue
        done = calls[:point]
        acknowledged = sum(call.kind == "acknowledge" for call in done)
        for what, names, data in _choices(done, extra, rng):
            yield Crash(point, what, acknowledged, _build(before, done, names, data))


def _choices(done: Sequence[Call], extra: int, rng: random.Random) -> Iterator[tuple[str, set[int], dict[int, str]]]:
    """(what, unsynced name changes that survive, fate of each unsynced write that does not simply survive)."""
    data = _unsynced_data(done)
    folders = _unsynced_names(done)
    all_names = {i for changes in folders.values() for i in changes}
    lost = dict.fromkeys(data, "lost")
    yield "killed", all_names, {}
    if data:
        yield "unsynced data lost", all_names, lost
        yield "unsynced data zeros", all_names, dict.fromkeys(data, "zeros")
    if all_names:
        yield "unsynced names lost", set(), {}
    if data and all_names:
        yield "everything unsynced lost", set(), lost
    for i in data:
        yield f"write {i} torn", all_names, {i: "torn"}
        if len(data) > 1:
            yield f"write {i} alone lost", all_names, {i: "lost"}
            yield f"write {i} alone there", all_names, {j: "lost" for j in data if j != i}
    for changes in folders.values():
        for count in range(1, len(changes)):
            others = all_names - set(changes)
            yield f"{count} names there", others | set(changes[:count]), {}
            yield f"{count} names there, data lost", others | set(changes[:count]), lost
    for _ in range(extra):
        names = {i for changes in folders.values() for i in changes[: rng.randint(0, len(changes))]}
        yield "random", names, {i: rng.choice(("lost", "torn", "zeros")) for i in data if rng.random() < 0.6}


def _unsynced_data(done: Sequence[Call]) -> list[int]:
    """Numbers of the writes and truncates whose file was not synced afterwards, followed through renames."""
    file_of: dict[str, int] = {}  # which file a name is of now: files are numbered, for names change
    pending: dict[int, list[int]] = {}
    new = itertools.count()
    for i, call in enumerate(done):
        if call.kind == "create":
            file_of[call.path] = next(new)
        elif call.kind == "rename":
            file_of[call.target] = file_of.pop(call.path, next(new))
        elif call.kind in _DATA:
            pending.setdefault(file_of.setdefault(call.path, next(new)), []).append(i)
        elif call.kind == "sync":
            pending.pop(file_of.setdefault(call.path, next(new)), None)
    return sorted(i for group in pending.values() for i in group)


def _unsynced_names(done: Sequence[Call]) -> dict[str, list[int]]:
    """Folder -> numbers of the changes of names in it that no sync of that folder followed."""
    pending: dict[str, list[int]] = {}
    for i, call in enumerate(done):
        if call.kind in _NAMES:
            pending.setdefault(_folder(call.target or call.path), []).append(i)
        elif call.kind == "sync_folder":
            pending.pop(call.path, None)
    return pending


def _build(before: Files, done: Sequence[Call], names: set[int], fates: dict[int, str]) -> Files:
    """The files after the calls, with the unsynced ones treated as chosen."""
    unsynced = {i for changes in _unsynced_names(done).values() for i in changes}
    live: dict[str, list[bytearray]] = {path: [bytearray(data)] for path, data in before.items() if data is not None}
    shown = dict(live)  # names as they would be on disk; a file is a box, so that data reaches it under any name
    folders = {path for path, data in before.items() if data is None}
    for i, call in enumerate(done):
        stays = i not in unsynced or i in names
        if call.kind == "create":
            live[call.path] = [bytearray()]
            if stays:
                shown[call.path] = live[call.path]
        elif call.kind == "rename":
            live[call.target] = live.pop(call.path)
            if stays:
                shown.pop(call.path, None)
                shown[call.target] = live[call.target]
        elif call.kind == "unlink":
            live.pop(call.path)
            if stays:
                shown.pop(call.path, None)
        elif call.kind == "mkdir" and stays:
            folders.add(call.path)
        elif call.kind == "rmdir" and stays:
            folders.discard(call.path)
        elif call.kind in _DATA and call.path in live:
            _apply(live[call.path][0], call, fates.get(i))
    files: Files = dict.fromkeys(folders)
    return files | {path: bytes(box[0]) for path, box in shown.items() if _folder(path) in (".", *folders)}


def _apply(content: bytearray, call: Call, fate: str | None) -> None:
    if fate == "lost":
        return
    if call.kind == "truncate":
        content[call.offset :] = bytes(max(0, call.offset - len(content)))
        return
    data = call.data
    if fate is not None:
        data = {"torn": data[: len(data) // 2], "zeros": bytes(len(data))}[fate]
    content.extend(bytes(max(0, call.offset - len(content))))
    content[call.offset : call.offset + len(data)] = data


def _folder(path: str) -> str:
    return str(PurePosixPath(path).parent)


# ---------------------------------------------------------------- files on disk


def read_files(root: Path) -> Files:
    """Everything under root."""
    return {path.relative_to(root).as_posix(): None if path.is_dir() else path.read_bytes() for path in root.rglob("*")}


def write_files(root: Path, files: Files) -> None:
    """Put them there; root is made. Folders come before what they hold."""
    root.mkdir(parents=True, exist_ok=True)
    for path in sorted(path for path, data in files.items() if data is None):
        (root / path).mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        if data is not None:
            (root / path).write_bytes(data)


def digest(files: Files) -> str:
    """Equal for equal files: many crashes leave the same."""
    state = hashlib.sha256()
    for path in sorted(files):
        data = files[path]
        state.update(f"{path}\0{'' if data is None else len(data)}\0".encode())
        state.update(data or b"")
    return state.hexdigest()
