"""Folders looked through: what is in them, what of it is left out, and what cannot be looked at."""

import os
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.errors import BadRequest
from retrieval.images import kinds
from retrieval.sources import texts
from retrieval.sources.uri import Options, Unseen

if TYPE_CHECKING:
    import pathspec

Found = tuple[Path, str, "frozenset[str] | Unseen"]
IGNORE_FILE = ".mmrignore"
# What cameras, network disks, systems and programs keep beside pictures, and what is none of a person's.
_JUNK = frozenset(
    name.lower()
    for name in ("@eaDir", "#recycle", "#snapshot", ".thumbnails", ".thumb", ".git", ".hg", ".svn", "node_modules",
                 "__pycache__", "__MACOSX", "System Volume Information", "$RECYCLE.BIN", "lost+found", ".Trash",
                 ".Trashes", ".Spotlight-V100", ".fseventsd", ".venv", ".cache")
)  # fmt: skip


class Walk:
    """One look through one or several folders. Each `Found` is (folder, file name, all names of that folder).

    Where something cannot be read, it is (folder, its name or "" for the folder itself, Unseen). Hidden names, what
    programs keep beside pictures, and what --exclude or an .mmrignore names are left out. Links to files are taken.
    Links to folders are put into `options.links`; with `options.follow` they are followed, last of all and each folder
    once, so that a loop ends and what has a place of its own is found there.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self._seen: set[tuple[int, int]] = set()
        self._links: deque[tuple[Path, Rules]] = deque()

    def below(self, root: Path) -> Iterator[Found]:
        """What is in a folder and below it, in the order of names, without what lies behind links."""
        yield from self._down(root, Rules(root, self.options))
        for mount in self.options.expected if not self.options.let_go else ():
            if mount.is_relative_to(_there(root)) and not os.path.lexists(mount):
                yield root / mount.relative_to(_there(root)), "", Unseen("its disk is not mounted")

    def at(self, root: Path, folder: Path, names: Collection[str]) -> Iterator[Found]:
        """What is there of these names of a folder within a root: files, and folders with all that is in them."""
        for mount in self._away_near([_there(folder / name) for name in names]):
            yield root / os.path.relpath(mount, _there(root)), "", Unseen("its disk is not mounted")
        rules = Rules(root, self.options)
        try:
            if not rules.read_down_to(folder):
                return
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):  # it is gone, with all that was in it
            return
        except OSError as error:
            yield folder, "", Unseen(f"cannot be read: {error.strerror or error}")
            return
        subfolders: list[Path] = []
        some, beside = [entry for entry in listed if entry.name in names], frozenset(entry.name for entry in listed)
        yield from self._sorted(folder, some, beside, rules, subfolders)
        for subfolder in subfolders:
            yield from self._down(subfolder, rules)

    def _away_near(self, paths: Iterable[Path]) -> list[Path]:
        """Where disks were mounted, and are not, above or below one of these paths."""
        away = [mount for mount in self.options.expected if not mount.is_mount()]
        return [mount for mount in away if any(mount.is_relative_to(one) or one.is_relative_to(mount) for one in paths)]

    def behind_links(self) -> Iterator[Found]:
        """What lies behind the links that were met, where they are followed."""
        while self._links:
            folder, rules = self._links.popleft()
            if self._is_new(folder):
                yield from self._down(folder, rules, linked=True)

    def has_links(self, root: Path) -> bool:
        """Does a link that was met, and is to be followed, lie below this folder?"""
        return any(link.is_relative_to(root) for link, _ in self._links)

    def _down(self, top: Path, rules: "Rules", linked: bool = False) -> Iterator[Found]:
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            is_new = self._is_new(folder)
            if linked and folder != top and not is_new:
                continue
            if not self._is_mounted(folder):
                yield folder, "", Unseen("its disk is not mounted")
            try:
                with os.scandir(folder) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
                names = frozenset(entry.name for entry in listed)
                if IGNORE_FILE in names:
                    rules.read(folder)
            except OSError as error:
                yield folder, "", Unseen(f"cannot be read: {error.strerror or error}")
                continue
            if linked and folder == top and not listed:
                yield folder, "", Unseen("holds nothing: is its disk there?", doubtful=True)
            subfolders: list[Path] = []
            yield from self._sorted(folder, listed, names, rules, subfolders)
            waiting += reversed(subfolders)

    def _sorted(
        self, folder: Path, listed: list[os.DirEntry], names: frozenset[str], rules: "Rules", subfolders: list[Path]
    ) -> Iterator[Found]:
        """The files among the entries of a folder; its subfolders and the links in it are put where they belong."""
        for entry in listed:
            try:
                if entry.is_dir(follow_symlinks=False):
                    if rules.wants_folder(folder, entry.name):
                        subfolders.append(folder / entry.name)
                elif entry.is_symlink() and _leads_to_folder(entry):
                    if rules.wants_folder(folder, entry.name):
                        self._meet(folder / entry.name, rules)
                elif rules.wants_file(folder, entry.name):
                    yield folder, entry.name, names
                elif self.options.follow and _leads_nowhere(entry) and rules.wants_folder(folder, entry.name):
                    yield folder, entry.name, Unseen("a link to nothing: is its disk there?", doubtful=True)
            except OSError as error:  # a file system that does not say what a name is, and cannot
                if rules.wants_folder(folder, entry.name):
                    yield folder, entry.name, Unseen(f"cannot be read: {error.strerror or error}")

    def _is_mounted(self, folder: Path) -> bool:
        """False for a folder that a disk was mounted at and is not now: what lies in it then says nothing of it."""
        try:
            if _there(folder).is_mount():
                self.options.mounts.add(_there(folder))
                return True
        except OSError:  # listing it will say so
            return True
        return self.options.let_go or _there(folder) not in self.options.expected

    def _meet(self, link: Path, rules: "Rules") -> None:
        if self.options.follow:
            self._links.append((link, rules))
        else:
            self.options.links.add(link)

    def _is_new(self, folder: Path) -> bool:
        """Is this folder met for the first time, by whatever name? Not asked where no link is followed."""
        if not self.options.follow:
            return True
        try:
            status = folder.stat()
        except OSError:  # listing it will say so
            return True
        key = (status.st_dev, status.st_ino)
        known = key in self._seen
        self._seen.add(key)
        return not known


def _there(folder: Path) -> Path:
    return Path(os.path.normpath(folder.absolute()))


def _leads_to_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links, say
        return False


def _leads_nowhere(entry: os.DirEntry) -> bool:
    return entry.is_symlink() and not Path(entry.path).exists()


class Rules:
    """What is left out of a walk. A nearer .mmrignore has the last word, as with git."""

    def __init__(self, root: Path, options: Options) -> None:
        self._root, self._hidden = root, options.include_hidden
        self._excluded, self._endings = _patterns(options.exclude), kinds.endings(options.kinds)
        self._files: dict[Path, pathspec.GitIgnoreSpec | None] = {}

    def read(self, folder: Path) -> None:
        """Take in the ignore file of a folder, if there is one. Raises OSError for one that cannot be read."""
        try:
            lines = texts.read(folder / IGNORE_FILE).splitlines()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return
        self._files[folder] = _patterns(lines)

    def read_down_to(self, folder: Path) -> bool:
        """Take in the ignore files from the root down to a folder; False where it is left out. Raises OSError."""
        at = self._root
        self.read(at)
        for name in folder.relative_to(self._root).parts:
            if not self.wants_folder(at, name):
                return False
            at /= name
            self.read(at)
        return True

    def wants_folder(self, folder: Path, name: str) -> bool:
        """True for a folder that is walked."""
        junk = name.lower() in _JUNK or name.endswith(".mmr")
        return not junk and self._wants(folder, name, "/")

    def wants_file(self, folder: Path, name: str) -> bool:
        """True for a file that is an item."""
        ending = "." + name.rpartition(".")[2].lower()
        return ending in self._endings and self._wants(folder, name, "")

    def _wants(self, folder: Path, name: str, slash: str) -> bool:
        if name.startswith(".") and not self._hidden:
            return False
        path = folder / name
        if self._excluded and self._excluded.match_file(path.relative_to(self._root).as_posix() + slash):
            return False
        for above in (folder, *folder.parents) if self._files else ():
            patterns = self._files.get(above)
            if patterns is not None:
                verdict = patterns.check_file(path.relative_to(above).as_posix() + slash).include
                if verdict is not None:
                    return not verdict
            if above == self._root:
                break
        return True


def _patterns(lines: Iterable[str]) -> "pathspec.GitIgnoreSpec | None":
    """The globs, None where there is none: pathspec is imported where it is needed."""
    lines = [line for line in lines if line.strip()]
    if not lines:
        return None
    import pathspec

    try:
        return pathspec.GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise BadRequest(f"an exclude pattern makes no sense ({error}): write globs, as in a .gitignore") from error
