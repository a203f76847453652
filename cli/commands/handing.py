"""What is done with the answers of `mmr search`: they are shown, copied, linked to, put on a page, opened."""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from cli.output import folder, hits, plain, preview, sheet, show, target
from indexes import Store
from retrieval.datatypes import Hit
from retrieval.errors import BadRequest, ImageError
from retrieval.images import kinds
from retrieval.indexing import catalog
from retrieval.indexing.find import FOLDER
from retrieval.sources.allowed import OUTSIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where the answers go. form: of stdout; the others are as the options of `mmr search` say."""

    form: hits.Form = "table"
    html: Path | None = None
    force: bool = False
    open_best: bool = False
    preview: bool = False
    copy_to: Path | None = None
    link_to: Path | None = None
    allow: Sequence[Path] = ()
    quiet: bool = False

    def check(self, many: bool) -> None:
        """Raise BadRequest for what cannot work, before anything is searched."""
        if many and (self.open_best or self.copy_to or self.link_to):
            raise BadRequest("--open, --copy-to and --link-to are for one query: leave out --queries")
        if self.copy_to and self.link_to:
            raise BadRequest("--copy-to and --link-to are two ways to one end: give one")
        if missing := [folder for folder in self.allow if not folder.is_dir()]:
            raise BadRequest(f"no such folder: {missing[0]}: check --allow")
        if made := self.copy_to or self.link_to:
            folder.check(made, "--copy-to" if self.copy_to else "--link-to")
        if self.html:
            target.check(self.html, "--html", self.force)
        if self.preview:
            preview.check()


class Handed:
    """Answers on their way out. found: all of them. left: those that could not be handed out, with the reasons."""

    def __init__(self, output: Output, store: Store, many: bool) -> None:
        self._output, self._store = output, store
        self._allowed = catalog.allowed(store, output.allow)
        self._write = hits.Writer(output.form, many)
        self._sections: list[sheet.Section] = []
        self.found: list[Hit] = []
        self.left: dict[str, str] = {}

    def answer(self, title: str, found: Sequence[Hit], pictures: Sequence[Path]) -> None:
        """Show the answers to one query; pictures: those that it was asked with."""
        if self._output.preview:
            show.out(plain.line(title))
            self.left |= preview.draw(found, self._allowed)
        else:
            self._write(title, found)
        self.found += found
        self._sections.append(sheet.Section(title, found, self._allowed, pictures=pictures))

    def keep(self) -> None:
        """Do with them what is asked beside showing them: copy, link, write a page, open."""
        self._make_folder()
        if self._output.html:
            title = self._sections[0].query if len(self._sections) == 1 else f"{len(self._sections)} queries"
            self.left |= sheet.write(self._output.html, title, self._sections)
            show.note(f"contact sheet: {self._output.html}")
        if self._output.open_best and self.found:
            self._open(self.found[0])

    def _make_folder(self) -> None:
        made = self._output.copy_to or self._output.link_to
        if made is None or not self.found:
            return
        left = folder.make(made, self.found, self._allowed, link=self._output.link_to is not None)
        count = len(self.found) - len(left)
        unit = kinds.counted(hit.kind for hit in self.found)
        show.note(f"{count} {unit} in {made}" if count else f"{made} is not made")
        self.left |= left

    def _open(self, hit: Hit) -> None:
        """With the desktop's program. Raises BadRequest where there is none."""
        try:
            file = self._allowed.file(hit)
        except ImageError as error:
            self.left[hit.uri] = str(error)
            return
        if typer.launch(str(file)) != 0:
            raise BadRequest(f"nothing here opens pictures: open {file} yourself")

    def say_what_is_left(self, said: bool) -> None:
        """Say which answers could not be handed out, and that files are gone.

        said: that the index is not as its folders are.
        """
        gone = [hit for hit in self.found if hits.is_gone(hit.path)]
        self.left |= {hit.uri: "no such file" for hit in gone}
        sys.stdout.flush()
        show.skipped(list(self.left.items()))
        self._say_what_would_allow_it()
        if gone and not said:
            root = self._allowed.root or ""
            where = plain.line(gone[0].path or "" if Path(root).is_dir() else f"the folder {root}")
            way = f"`{index_again(self._store)}` brings the index up to date"
            show.note(f"files that are gone: {len(gone)}, as {where}: {way}")

    def _say_what_would_allow_it(self) -> None:
        outside = [Path(hit.path).parent for hit in self.found if hit.path and self.left.get(hit.uri) == OUTSIDE]
        if outside:
            common = plain.line(os.path.commonpath(outside))
            show.note(f"--allow {shlex.quote(common)} hands out what lies below there too")


def index_again(store: Store) -> str:
    """The command that brings an index up to date."""
    here = store.path.absolute() == Path(FOLDER).absolute()
    return "mmr index" if here else f"mmr index --index {shlex.quote(str(store.path))}"
