"""How the command line speaks of itself: a wrong word in one line, the examples of its help on lines of their own."""

import difflib
import math
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from cli.output import show
from indexes import distribution

_KEEP = "\b"  # the help formatter leaves the lines of a paragraph as they are behind this


class Commands(TyperGroup):
    """The root of the commands: what is wrong with a command line is told in one line, whichever command it is for."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        _set_apart(self)

    def main(
        self, args: Sequence[str] | None = None, prog_name: str | None = None, complete_var: str | None = None,
        standalone_mode: bool = True, windows_expand_args: bool = True, **extra: Any,
    ) -> Any:  # fmt: skip
        """Run what is typed and exit, as Typer does; not standalone: let errors through to the caller."""
        words = list(sys.argv[1:] if args is None else args)
        try:
            done = super().main(words, prog_name or "mmr", complete_var, False, windows_expand_args, **extra)
        except typer.TyperException as error:
            if not standalone_mode:
                raise
            show.note(_told(error, self, words))
            sys.exit(show.USAGE)
        except typer.Abort:
            if not standalone_mode:
                raise
            show.note(show.explain(KeyboardInterrupt())[0])
            sys.exit(show.INTERRUPTED)
        if standalone_mode:
            sys.exit(done or show.OK)
        return done


def version(asked: bool) -> None:
    """The callback of --version: say it and end."""
    if asked:
        show.out(f"mmr {distribution.version()}")
        raise typer.Exit(show.OK)


def finite(number: float | None) -> float | None:
    """The callback of a number with bounds: NaN is within all of them where they are only compared."""
    if number is not None and math.isnan(number):
        raise typer.BadParameter(f"{number} is not greater or less than any number")
    return number


def called() -> str:
    """How this program is called from this folder: `mmr` where the shell finds this very one, else by its path."""
    script, found = Path(sys.argv[0]), shutil.which("mmr")
    if script.stem != "mmr" or not script.is_file():  # python -m cli.main
        return f"{shlex.quote(sys.executable)} -m cli.main"
    return "mmr" if found and script.samefile(found) else shlex.quote(str(script))


def activation() -> str | None:
    """What makes `mmr` alone enough, where it is not and this is a virtual environment's; else None."""
    script = Path(sys.argv[0]).with_name("activate")
    return f"source {shlex.quote(str(script))}" if called() != "mmr" and script.is_file() else None


# ---------------------------------------------------------------- what was typed wrongly


def _told(error: typer.TyperException, root: TyperGroup, words: Sequence[str]) -> str:
    """The error and the next thing to type, in one line; the whole help where nothing was asked of a group."""
    message = error.format_message()
    if message.startswith("Usage:"):
        return message
    command, path = _reached(root, words)
    said = " ".join(message.replace("Value error, ", "").split()).rstrip(".")
    said = said.partition(" (Possible options")[0].partition(" Did you mean")[0].rstrip(".")
    return f"mmr: {said[:1].lower()}{said[1:]}: {_next(error, command, path, words)}"


def _reached(root: TyperGroup, words: Sequence[str]) -> tuple[TyperCommand | TyperGroup, str]:
    """The command that these words are for, and what is typed for it."""
    command: Any = root
    path = ["mmr"]
    for word in words:
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
        path.append(word)
    return command, " ".join(path)


def _next(error: typer.TyperException, command: Any, path: str, words: Sequence[str]) -> str:
    option = getattr(error, "option_name", None)
    if option and not getattr(error, "param", None) and option not in _options(command):
        return _like(option, _options(command), f"see `{path} --help`")
    below = getattr(command, "commands", None)
    if below:
        at = len(path.split()) - 1
        return _like(words[at], below, f"see `{path} --help`") if at < len(words) else f"see `{path} --help`"
    return f"see `{path} --help`"


def _options(command: Any) -> list[str]:
    return [name for option in command.params for name in (*option.opts, *option.secondary_opts) if name[:1] == "-"]


def _like(typed: str, names: Iterable[str], otherwise: str) -> str:
    near = difflib.get_close_matches(typed, names, 1)
    return f"did you mean `{near[0]}`?" if near else otherwise


# ---------------------------------------------------------------- help


def _set_apart(command: Any) -> None:
    """Keep the examples in the help of a command, and of all below it, from running into each other."""
    command.help = command.help and examples_apart(command.help)
    for below in getattr(command, "commands", {}).values():
        _set_apart(below)


def examples_apart(text: str) -> str:
    """A docstring in which the lines that start with `mmr ` are each a line of the help, apart from the sentences."""
    parts: list[list[str]] = []
    for line in text.splitlines():
        kind = [_KEEP] if line.lstrip().startswith("mmr ") else []
        if parts and line.strip() and parts[-1][-1].strip() and (parts[-1][0] == _KEEP) == bool(kind):
            parts[-1].append(line)
        elif line.strip():
            parts.append([*kind, line])
        elif parts and parts[-1][-1].strip():
            parts[-1].append("")
    return "\n\n".join("\n".join(part).rstrip("\n") for part in parts)
