"""The options of the command line that several commands share, or that are many: types, help and completion."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli import complete, config
from cli.output import show


def not_empty(text: str) -> str:
    """The value of an option, as it is. Raises typer.BadParameter for an empty one, which is what an unset variable of
    a script leaves.
    """
    if not text.strip():
        raise typer.BadParameter("it is empty: give a name, or leave the option out")
    return text


def folder(text: str) -> Path:
    """The folder that an option names. Raises typer.BadParameter where it names none."""
    if "\0" in text:
        raise typer.BadParameter("it holds a NUL, which no path can")
    return Path(not_empty(text))


Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(help="auto takes the GPU where there is one.", envvar="MMR_DEVICE", callback=config.device_option),
]
Engine = Annotated[
    Literal["auto", "torch", "onnx", "openvino", "int8"],
    typer.Option(
        help="What computes pictures; auto: the fastest here (mmr info --machine).", envvar="MMR_ENGINE",
        callback=config.engine_option,
    ),
]  # fmt: skip
IndexDir = Annotated[
    Path | None,
    typer.Option(
        "--index", help="The index folder.", metavar="DIR", parser=folder, autocompletion=complete.indexes,
        envvar="MMR_INDEX", callback=config.index_option,
    ),
]  # fmt: skip
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="A run folder, a preset (mmr models), or open_clip:NAME/TAG.",
        parser=not_empty, metavar="TEXT", autocompletion=complete.models,
    ),
]  # fmt: skip
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray", parser=not_empty, metavar="ADDRESS",
        help="Over the machines of a Ray cluster: auto, HOST:PORT, or local for this one.",
    ),
]  # fmt: skip
Ocr = Annotated[
    bool | None,
    typer.Option("--ocr/--no-ocr", help="Also read the text in the pictures, into the field `text`; remembered."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that mmr did not write.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]

# ---------------------------------------------------------------- which items

Where = Annotated[
    str | None,
    typer.Option(
        help="Only items whose fields meet this: \"year >= 2011 and colour == 'Red'\".", metavar="EXPRESSION",
        autocompletion=complete.fields,
    ),
]  # fmt: skip
Inside = Annotated[str | None, typer.Option("--in", help="Only items below this folder.", metavar="FOLDER")]

# ---------------------------------------------------------------- search: what is asked

Update = Annotated[bool, typer.Option("--update", help="First index what is new or changed in the folders.")]

Query = Annotated[
    list[str] | None,
    typer.Argument(help="Words, a picture, id:ITEM, or a sum of them: 2:dog + ./pool.jpg - people", metavar="QUERY"),
]
Queries = Annotated[
    str | None, typer.Option("--queries", help="A query a line from this file; - for stdin.", metavar="FILE")
]
TopK = Annotated[int, typer.Option("-k", help="How many answers.")]
Hybrid = Annotated[
    bool | None,
    typer.Option("--hybrid/--no-hybrid", help="By words beside meaning, or not; else what was measured to find more."),
]
WordsOnly = Annotated[
    bool,
    typer.Option("--words-only", help="By the words of captions, names, fields: 'two words', '\"a phrase\"', begin*."),
]
Exact = Annotated[bool, typer.Option("--exact", help="Do not use an approximate index.")]
Urls = Annotated[bool, typer.Option("--urls", help="Fetch the pictures of http and https addresses in QUERY.")]
MinScore = Annotated[float | None, typer.Option(help="The least cosine of an answer.", metavar="COSINE")]
MinConfidence = Annotated[
    float | None,
    typer.Option(help="Answer only if fewer than 1 - P of other queries would find a picture as near.", metavar="P"),
]
Diverse = Annotated[float, typer.Option("--diverse", help="0 to 1: answers that differ from each other.")]
Captions = Annotated[bool, typer.Option("--captions", help="Answer with the captions nearest to QUERY.")]
Crop = Annotated[
    str | None,
    typer.Option(
        "--crop", metavar="X,Y,W,H",
        help="Ask with this part of QUERY's picture: left, top, width, height in pixels, or in percent with a %.",
    ),
]  # fmt: skip

# ---------------------------------------------------------------- search: what was judged

Like = Annotated[
    list[str] | None,
    typer.Option("--like", help="More like this item, by id, uri or path, or picture; repeatable.", metavar="ITEM"),
]  # fmt: skip
Unlike = Annotated[list[str] | None, typer.Option("--unlike", help="Less like this; repeatable.", metavar="ITEM")]
Session = Annotated[
    Path | None,
    typer.Option("--session", help="Go on from this .json or .csv; keep QUERY and judgements there.", metavar="FILE"),
]  # fmt: skip
TrainOn = Annotated[
    Path | None,
    typer.Option(
        "--train-on", metavar="FILE",
        help="Fit a head to the judgements of a table with columns item, judgement (1 or 0) and maybe query.",
    ),
]  # fmt: skip
WithJudged = Annotated[bool, typer.Option("--with-judged", help="What was judged may be an answer again.")]

# ---------------------------------------------------------------- search: what is shown

Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", envvar="MMR_QUIET", help="Do not say that the folders hold new pictures."),
]
AsCsv = Annotated[bool, typer.Option("--csv", help="A table with a header on stdout.")]
Paths = Annotated[bool, typer.Option("--paths", help="Nothing but the path of each answer, a line each.")]
Null = Annotated[bool, typer.Option("--null", "-0", help="The paths end in a NUL each, for xargs -0.")]
Html = Annotated[Path | None, typer.Option(help="Also write a contact sheet of the answers.", metavar="FILE")]
OpenBest = Annotated[bool, typer.Option("--open", help="Open the best answer with the desktop's program.")]
Preview = Annotated[bool, typer.Option("--preview", help="Show the pictures in the terminal.")]
CopyTo = Annotated[
    Path | None, typer.Option("--copy-to", help="Copy the answers into a new folder, by rank.", metavar="DIR")
]
LinkTo = Annotated[
    Path | None, typer.Option("--link-to", help="Link to the answers from a new folder, by rank.", metavar="DIR")
]
Allow = Annotated[
    list[Path] | None,
    typer.Option(
        "--allow", metavar="FOLDER",
        help="Pictures below this folder may be copied, linked, opened and shown too, beside those below the index's "
        "own; repeatable.",
    ),
]  # fmt: skip

# ---------------------------------------------------------------- train: what can be set


def _shows_settings(module: str, name: str) -> Callable[[typer.Context, bool], None]:
    """For an option that shows the settings of a configuration and ends the command, whatever else it needs."""

    @show.guarded
    def display(ctx: typer.Context, asked: bool) -> None:
        if not asked or ctx.resilient_parsing:  # the latter: the shell asks for completions
            return
        from cli.output import settings_table
        from retrieval.settings import table

        show.out(settings_table.text(table(getattr(import_module(module), name)), settings_table.terminal_width()))
        raise typer.Exit(show.OK)

    return display


def _settings_option(module: str, name: str) -> Any:
    """The option that shows every setting of a configuration, given by where it is defined."""
    return typer.Option(
        "--settings", help="Show every field that --set takes, and nothing else.", is_eager=True,
        callback=_shows_settings(module, name),
    )  # fmt: skip


TrainSettings = Annotated[bool, _settings_option("retrieval.training.config", "TrainConfig")]
HeadSettings = Annotated[bool, _settings_option("retrieval.heads.config", "HeadConfig")]
