"""A confusion matrix as a picture: a row for each true class, a column for each answer, darker where more often.

Drawn with matplotlib, an extra (plots), on a figure of its own: pyplot is not touched.
"""

import io
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.classification import HeadReport
from indexes import distribution, durable
from retrieval import cache
from retrieval.errors import BadRequest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLASSES = 60  # the most frequent ones that are drawn
_LETTERS = 20  # of a class's name
_SIZE, _DPI = 8, 120  # of the writing in points; pixels an inch
_CELL, _MARGIN = 0.24, 2.4  # inches of a cell's side at the least, and of what stands beside the cells
_OF_BOXES = re.compile(r"last ?resort|.*[-:,]", re.IGNORECASE)  # has a box for every letter, or a name rc cannot hold
# Where a format has room for who wrote it: the field's name, savefig's argument, the endings.
_CREATOR = {
    "Software": ("metadata", ("png",)), "Creator": ("metadata", ("pdf", "svg", "ps", "eps")),
    "comment": ("pil_kwargs", ("jpg", "jpeg", "gif")), "description": ("pil_kwargs", ("tif", "tiff")),
}  # fmt: skip
_RIGHT, _WRONG = "Blues", "Reds"  # on the diagonal, off it
# Fonts with Chinese, Japanese or Korean letters that systems come with, in the order in which they are asked.
FALLBACKS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "Droid Sans Fallback", "AR PL UMing CN", "AR PL UKai CN", "PingFang SC", "Hiragino Sans GB",
    "Heiti TC", "STHeiti", "Songti SC", "Arial Unicode MS", "Microsoft YaHei", "SimHei", "SimSun", "Noto Sans CJK JP",
    "Noto Sans CJK TC", "Noto Sans CJK KR", "Noto Serif CJK SC",
)  # fmt: skip


def require(path: Path) -> None:
    """Raise BadRequest where no picture of that name can be drawn: asked before the work that it is to show."""
    if find_spec("matplotlib") is None:
        raise BadRequest(f"--confusion draws with matplotlib: {distribution.install('plots')}")
    cache.keep_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    kinds = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix.lower().removeprefix(".") not in kinds:
        raise BadRequest(f"{path} is no name of a picture: give, say, --confusion confusion.png")


def require_classes(task: str) -> None:
    """Raise BadRequest where a head of that task (examples.TASKS) has no confusion matrix."""
    if task != "single":
        raise BadRequest("only heads with one label a row have a confusion matrix: leave out --confusion")


def save(report: HeadReport, path: Path, creator: str = "") -> None:
    """Write the picture, whole or not at all, in the format that the name ends in. Raises BadRequest.

    creator: what wrote it, for its metadata; webp, svgz and bare pixels have no room for it.
    """
    require(path)
    kind = path.suffix.lower().removeprefix(".")
    buffer = io.BytesIO()
    draw(report).savefig(buffer, format=kind, **_said_by(creator, kind))
    durable.write_bytes(path, buffer.getvalue())


def _said_by(creator: str, kind: str) -> dict[str, Any]:
    """The arguments of savefig that write `creator` into the metadata of such a file."""
    for name, (option, kinds) in _CREATOR.items():
        if creator and kind in kinds:
            return {option: {name: creator}}
    return {}


def draw(report: HeadReport) -> "Figure":
    """The matrix of counts, each row colored by the shares of its true class. Raises BadRequest where there is none."""
    require_classes(report.task)
    assert report.confusion is not None  # of every head with one label a row
    cache.keep_matplotlib()
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kept = report.frequent(CLASSES)
    counts = report.confusion[np.ix_(kept, kept)]
    shares = counts / np.maximum(1, report.confusion[kept].sum(1, keepdims=True))
    side = _MARGIN + len(kept) * max(_CELL, 0.085 * len(str(counts.max(initial=0))))
    numbers = {name: number for number, name in unwritten(report).items()}
    with rc_context({"font.family": families(_letters(report)), "font.size": _SIZE}):
        figure = Figure(figsize=(side, side), dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _cells(axes, counts, shares)
        _names(axes, [numbers.get(report.classes[i]) or _short(report.classes[i]) for i in kept])
        if len(kept) < len(report.classes):
            axes.set_title(f"the {len(kept)} most frequent of {len(report.classes)} classes", fontsize=_SIZE)
    return figure


def families(letters: str = "") -> list[str]:
    """The fonts that are asked for a letter, in order: matplotlib's own, what is installed of those with CJK, and
    whatever else has any of these letters that those have not.
    """
    from matplotlib import font_manager

    installed = {font.name: font.fname for font in font_manager.fontManager.ttflist if not _OF_BOXES.match(font.name)}
    names = ["DejaVu Sans", *(name for name in FALLBACKS if name in installed)]
    missing = _missing(letters, [installed[name] for name in names])
    while missing:
        lacking = {name: len(_missing(missing, [file])) for name, file in installed.items() if name not in names}
        best = min(lacking, key=lambda name: lacking[name], default=None)
        if best is None or lacking[best] == len(missing):
            break
        names.append(best)
        missing = _missing(missing, [installed[best]])
    return names


def _missing(letters: str, files: Sequence[str]) -> str:
    """The letters that no font of these files has. One that cannot be read has none."""
    from matplotlib import font_manager

    for file in files if letters else ():
        try:
            font = font_manager.get_font(file)
        except (OSError, RuntimeError):
            continue
        letters = "".join(letter for letter in letters if not font.get_char_index(ord(letter)))
    return letters


def _letters(report: HeadReport) -> str:
    """The letters of the names that are drawn, each once."""
    names = (_short(report.classes[i]) for i in report.frequent(CLASSES))
    return "".join(dict.fromkeys(letter for name in names for letter in name if not letter.isspace()))


def unwritten(report: HeadReport) -> dict[str, str]:
    """The names that cannot be drawn, as no font here has all their letters, by the number that stands for each."""
    from matplotlib import font_manager

    letters = _letters(report)
    files = {font.name: font.fname for font in font_manager.fontManager.ttflist}
    missing = _missing(letters, [files[name] for name in families(letters)])
    odd = [i for i in report.frequent(CLASSES) if set(missing) & set(_short(report.classes[i]))]
    return {f"#{i + 1}": report.classes[i] for i in odd}


def _short(name: str) -> str:
    short = name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"
    return short.replace("$", r"\$")  # else it opens a formula


def _cells(axes: "Axes", counts: np.ndarray, shares: np.ndarray) -> None:
    """A square for each pair of classes and its count, none where it is 0. A root shows what is rare as well."""
    right = np.eye(len(counts), dtype=bool)
    for color, part in ((_RIGHT, right & (counts > 0)), (_WRONG, ~right & (counts > 0))):
        axes.imshow(np.ma.array(np.sqrt(shares), mask=~part), cmap=color, vmin=0, vmax=1.2)
    for row, column in np.argwhere(counts):
        ink = "white" if shares[row, column] > 0.4 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=ink, fontsize=_SIZE - 1)
    axes.set_xticks(np.arange(len(counts) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(counts) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#dddddd", linewidth=0.5)


def _names(axes: "Axes", names: list[str]) -> None:
    """Write the class names on the axes: true classes at the left, answered ones above."""
    axes.xaxis.set_label_position("top")
    axes.tick_params(which="both", length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("answered", color="#606060")
    axes.set_ylabel("true", color="#606060")
