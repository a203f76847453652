"""Makes what of the pages comes from the code: commands of the Typer app, settings, the tables of the cost model.

    python -m docs.generate          # writes commands.md and settings.md of docs/reference, the tables of docs/scale.md

tests/test_docs.py compares what is committed with what this makes. Not part of the site, nor of the wheel.
"""

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import typer
from typer.models import ArgumentInfo, OptionInfo

from cli.main import app
from eval.scale import tables
from retrieval.heads.config import HeadConfig
from retrieval.settings import as_text, table
from retrieval.training.config import TrainConfig
from retrieval.training.recipes import RECIPES

REFERENCE = Path(__file__).parent / "reference"
SCALE = Path(__file__).parent / "scale.md"
_MADE = re.compile(r"(<!-- made: (\w+) -->)\n.*?(<!-- end -->)", re.DOTALL)
MADE_BY = "<!-- Made by `python -m docs.generate`: change the code, not this page. -->\n"
PICTURES = 6000  # that the recipes are shown for
_KINDS = {int: "INT", float: "FLOAT", Path: "PATH", str: "TEXT"}


class Parameter(NamedTuple):
    """An argument or an option. names: as they are typed; default: "" where there is none to show."""

    names: tuple[str, ...]
    takes: str
    repeats: bool
    required: bool
    default: str
    help: str
    is_option: bool


class Command(NamedTuple):
    """A command: `head train` of a group."""

    name: str
    text: str
    parameters: list[Parameter]


# ---------------------------------------------------------------- what there is


def commands(typer_app: typer.Typer = app, group: str = "") -> Iterator[Command]:
    """The commands of an app in the order of its help, those of its groups last."""
    for command in typer_app.registered_commands:
        if command.callback is None:
            continue
        name = f"{group} {command.name or command.callback.__name__}".strip()
        yield Command(name, inspect.getdoc(command.callback) or "", parameters(command.callback))
    for sub in typer_app.registered_groups:
        if sub.typer_instance is not None:
            yield from commands(sub.typer_instance, str(sub.name))


def groups() -> dict[str, str]:
    """Group -> its help."""
    return {
        str(sub.name): str(sub.typer_instance.info.help)
        for sub in app.registered_groups
        if sub.typer_instance is not None
    }


def parameters(function: Any) -> list[Parameter]:
    """The arguments and options of a command's function."""
    hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    found = []
    for name, parameter in inspect.signature(function).parameters.items():
        kind, *rest = typing.get_args(hints[name]) if hasattr(hints[name], "__metadata__") else (hints[name],)
        info = next((one for one in rest if isinstance(one, OptionInfo | ArgumentInfo)), OptionInfo())
        found.append(_parameter(name, kind, info, parameter.default))
    return found


def _parameter(name: str, kind: Any, info: OptionInfo | ArgumentInfo, default: Any) -> Parameter:
    single, repeats = _unwrapped(kind)
    takes = info.metavar or ("" if single is bool else _word(single))
    if isinstance(info, ArgumentInfo):
        names: tuple[str, ...] = (info.metavar or name.upper(),)
    else:
        bare = f"--{name.replace('_', '-')}"
        # Within Annotated, Typer takes what stands where a default would for the first name.
        given = (info.default, *(info.param_decls or ()))
        names = tuple(one for one in given if isinstance(one, str) and one.startswith("-"))
        names = names or ((f"{bare}/--no-{bare[2:]}",) if single is bool else (bare,))
    required = default is inspect.Parameter.empty
    shown = "" if required or default is None or default is False or default == "" else str(default)
    return Parameter(names, takes, repeats, required, shown, info.help or "", isinstance(info, OptionInfo))


def _unwrapped(kind: Any) -> tuple[Any, bool]:
    """A type without its None, and whether it stands for several."""
    options = [one for one in typing.get_args(kind) if one is not type(None)]
    if type(None) in typing.get_args(kind):
        kind = options[0]
    return (typing.get_args(kind)[0], True) if typing.get_origin(kind) is list else (kind, False)


def _word(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return "|".join(typing.get_args(kind))
    return _KINDS.get(kind, "TEXT")


# ---------------------------------------------------------------- as Markdown


def commands_page() -> str:
    """docs/reference/commands.md."""
    found, described = list(commands()), groups()
    index = [f"- [`mmr {one.name}`](#mmr-{one.name.replace(' ', '-')}): {_summary(one.text)}" for one in found]
    parts = [
        MADE_BY, "# Commands\n",
        "Every command takes `--help`. Data goes to stdout; progress, notes and skipped files go to stderr. "
        "[Exit codes](exit-codes.md) are the same for all of them.\n",
        "\n".join(index) + "\n",
    ]  # fmt: skip
    group = ""
    for one in found:
        first = one.name.split()[0]
        if first in described and first != group:
            parts.append(f"## `mmr {first}` {{#mmr-{first}}}\n\n{prose(described[first])}\n")
        group = first
        parts.append(_command(one, "###" if first in described else "##"))
    return "\n".join(parts)


def _command(command: Command, level: str) -> str:
    usage = " ".join(_usage(one) for one in command.parameters if not one.is_option or one.required)
    options = " [OPTIONS]" if any(one.is_option and not one.required for one in command.parameters) else ""
    lines = [f"{level} `mmr {command.name}` {{#mmr-{command.name.replace(' ', '-')}}}\n", description(command.text)]
    lines.append(f"```text\nmmr {command.name}{options} {usage}".rstrip() + "\n```\n")
    for title, is_option in (("argument", False), ("option", True)):
        rows = [_row(one) for one in command.parameters if one.is_option is is_option]
        if rows:
            lines.append(f"| {title} | takes | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(lines)


def _usage(parameter: Parameter) -> str:
    if parameter.is_option:
        return f"{parameter.names[0]} {parameter.takes}".strip()
    name = parameter.names[0] + ("..." if parameter.repeats and not parameter.names[0].endswith("...") else "")
    return name if parameter.required else f"[{name}]"


def _row(parameter: Parameter) -> str:
    names = ", ".join(f"`{name}`" for name in parameter.names)
    takes = f"`{parameter.takes}`" if parameter.takes else ""
    if parameter.repeats and not parameter.is_option:
        takes += ", several"
    default = "required" if parameter.required else f"`{parameter.default}`" if parameter.default else ""
    return f"| {names} | {cell(takes)} | {default} | {cell(prose(parameter.help))} |"


def description(text: str) -> str:
    """A docstring as Markdown: lines that start with `mmr ` are examples."""
    parts: list[str] = []
    for line in text.splitlines():
        if not line.startswith("mmr "):
            parts.append(prose(line))
        elif len(parts) > 1 and parts[-1] == "```":
            parts[-1:] = [f"$ {line}", "```"]
        else:
            parts += ["", "```console", f"$ {line}", "```"]
    spaced = re.sub(r"\n```\n(?=\S)", "\n```\n\n", "\n".join(parts))
    return re.sub(r"\n{3,}", "\n\n", spaced).strip() + "\n"


def settings_page() -> str:
    """docs/reference/settings.md."""
    return "\n".join(
        [
            MADE_BY, "# Settings\n",
            "A setting is changed with `--set name=value`, in Python with `dataclasses.replace` or "
            "`config.settings([\"name=value\"])`. What a run was trained with is in its `config.json`.\n",
            "## Recipes\n",
            f"A recipe is a full set of settings. Below is what each changes from the defaults, for {PICTURES:,} "
            "pictures (some depend on their number). `mmr train` takes `bridge`, `from_scratch` where "
            "that cannot be, or `finetune` where `--model` is given, and says which; `--recipe` names another.\n",
            *(_recipe(name) for name in RECIPES),
            "## Training: `mmr train --set` {#training}\n", _settings(TrainConfig),
            "## Heads: `mmr head train --set` {#heads}\n", _settings(HeadConfig),
        ]
    )  # fmt: skip


def _recipe(name: str) -> str:
    config, usual = RECIPES[name](PICTURES), TrainConfig()
    changed = [
        f"{field.name}={as_text(getattr(config, field.name))}" for field in dataclasses.fields(config)
        if getattr(config, field.name) != getattr(usual, field.name)
    ]  # fmt: skip
    return f"- **`{name}`**: {prose(_summary(inspect.getdoc(RECIPES[name]) or ''))} `{' '.join(changed)}`\n"


def _settings(kind: type) -> str:
    lines, group = [], None
    for row in table(kind):
        if row.group != group:
            group = row.group
            lines.append(f"\n### {group} {{#{kind.__name__.lower()}-{re.sub(r'[^a-z]+', '-', group.lower())}}}\n")
            lines.append("| setting | default | takes | meaning |\n|---|---|---|---|")
        default = f"`{row.default}`" if row.default else ""
        lines.append(f"| `{row.name}` | {default} | {cell(prose(row.takes))} | {cell(prose(row.meaning))} |")
    return "\n".join(lines) + "\n"


def _summary(text: str) -> str:
    return prose(text.splitlines()[0] if text else "")


def prose(text: str) -> str:
    """Plain text as Markdown: what stands in backticks is left as it is, options get them."""
    parts = re.split(r"(`[^`]*`|(?<![\w-])--[a-z][\w-]*)", text)
    return "".join(_part(part) for part in parts)


def _part(text: str) -> str:
    if text.startswith("--"):
        return f"`{text}`"
    return text if text.startswith("`") else re.sub(r"([*<_\[\]])", r"\\\1", text)


def cell(text: str) -> str:
    """Markdown for a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")


def scale_page() -> str:
    """docs/scale.md as it is, with the tables of the cost model made anew."""
    return _MADE.sub(
        lambda found: f"{found[1]}\n{tables.MADE[found[2]]()}{found[3]}", SCALE.read_text(encoding="utf-8")
    )


def pages() -> dict[Path, str]:
    """File -> what it should hold."""
    made = {REFERENCE / "commands.md": commands_page(), REFERENCE / "settings.md": settings_page()}
    return made | {SCALE: scale_page()}


def main() -> None:
    """Write the pages."""
    for file, text in pages().items():
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
