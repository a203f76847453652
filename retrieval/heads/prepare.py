"""From a source and an encoder to a head: what `mmr head train` and `mmr head compare` call."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from retrieval.callbacks import OnProgress, no_progress
from retrieval.datatypes import Item
from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest, ImageError, NothingReadable, NothingThere
from retrieval.heads import examples as labeled
from retrieval.heads import inputs as features
from retrieval.heads.config import HeadConfig
from retrieval.heads.examples import Examples
from retrieval.heads.fit import fit
from retrieval.heads.head import Head
from retrieval.heads.inputs import IMAGE, PATCHES, SOUND, Inputs
from retrieval.heads.probes import WITH_WORDS
from retrieval.heads.zero_shot import class_vectors
from retrieval.images import load
from retrieval.sources.captions import captions_of
from retrieval.sources.registry import open_items
from retrieval.sources.uri import id_of


@dataclass(frozen=True)
class PreparedRows:
    """Labelled rows with something to go by, and their vectors. empty: rows left out because they had nothing."""

    examples: Examples
    inputs: Inputs
    empty: int

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, rows: np.ndarray) -> "PreparedRows":
        return PreparedRows(_take(self.examples, rows), self.inputs[rows], 0)


def prepare(
    source: str, column: str, task: str, encoder: Encoder,
    vectors: dict[str, Path] | None = None, on_progress: OnProgress = no_progress,
    learn: bool = False, inputs: str | Sequence[str] = "",
) -> PreparedRows:  # fmt: skip
    """The labelled rows of a source as an encoder sees them: what `train_head` and `evaluate_head` take.

    Args:
        source: As for open_examples.
        column: The one that holds the answer.
        task: Of examples.TASKS.
        encoder: What makes the vectors; those of pictures are kept in the user's cache.
        vectors: Modalities of your own: name -> a .npy with a row for each row of the source.
        on_progress: Called with (done, total) pictures.
        learn: A head will be fitted to them, so there must be classes to tell apart.
        inputs: HeadConfig.inputs, or names of modalities: of a head that is asked, `list(head.dims)`.

    Returns:
        The rows that have a label and anything to go by; what was left out is counted, or listed, in them.

    Raises:
        BadRequest: No such column, no labels, or none to tell apart, or a vector file that does not fit.
        NothingReadable: No row has a picture that decodes, or a text.
    """
    examples = labeled.open_examples(source, column, task)
    if learn:
        labeled.classes_of(examples)
    return encoded(examples, encoder, vectors, on_progress, inputs)


def encoded(
    examples: Examples, encoder: Encoder, vectors: dict[str, Path] | None = None,
    on_progress: OnProgress = no_progress, inputs: str | Sequence[str] = "",
) -> PreparedRows:  # fmt: skip
    """Rows as an encoder sees them: `prepare`, once they are read."""
    own = {name: features.read_vectors(name, file, examples.total) for name, file in (vectors or {}).items()}
    names = features.chosen(inputs, encoder, list(own)) if isinstance(inputs, str) else inputs
    seen = features.encode(examples.items, encoder, names, on_progress)
    for name in own.keys() & set(names):
        seen = features.with_vectors(seen, name, own[name][examples.rows])
    there = np.flatnonzero(seen.anything)
    if not len(there):
        raise NothingReadable(
            f"{examples.source}: no labelled row has a picture that decodes, or a text: check the source",
            seen.skipped,
        )
    kept = replace(seen[there], skipped=seen.skipped)
    return PreparedRows(_take(examples, there), kept, len(examples) - len(there))


def _take(examples: Examples, rows: np.ndarray) -> Examples:
    return replace(
        examples, items=[examples.items[i] for i in rows], labels=[examples.labels[i] for i in rows],
        rows=examples.rows[rows],
    )  # fmt: skip


def one_row(
    picture: Path | None, text: str, encoder: Encoder, dims: dict[str, int], vectors: dict[str, Path] | None = None,
) -> Inputs:  # fmt: skip
    """A picture, a text and vectors of your own (.npy with one row), as one row. None and "" are missing.

    dims: of the head that is asked. Raises BadRequest where there is nothing, ImageError for a bad picture.
    """
    if picture is None and not text.strip() and not vectors:
        raise BadRequest("nothing to go by: give a picture, --text, or both")
    name = str(picture or "none")
    item = Item(id_of(name), name, Path(name), captions=captions_of(text), kind=load.kind(Path(name)))
    seen = [m for m in dims if picture is not None or m not in (IMAGE, PATCHES, SOUND)]
    inputs = features.encode([item], encoder, seen)
    if inputs.skipped:
        raise ImageError(f"{picture}: {inputs.skipped[0][1]}: give another picture")
    for name, file in (vectors or {}).items():
        inputs = features.with_vectors(inputs, name, features.read_vectors(name, file, 1))
    for name in dims.keys() - inputs.vectors.keys():
        inputs = features.with_vectors(inputs, name, np.zeros((1, dims[name]), np.float32))
    return inputs


def pictures_at(paths: Sequence[Path]) -> tuple[list[Item], list[tuple[str, str]]]:
    """Pictures, clips and sounds by their paths, each once; of a folder what is in and below it, with its captions.

    Their uris are those paths. The second list has the folders that hold none, with that reason, where others are
    asked for beside them. Raises NothingThere for one alone.
    """
    items: dict[str, Item] = {}
    empty: list[tuple[str, str]] = []
    for path in paths:
        try:
            found = _at(path)
        except NothingThere:
            if len(paths) == 1:
                raise
            empty.append((str(path), "a folder with nothing to look at or to hear"))
            continue
        for item in found:
            items.setdefault(item.uri, replace(item, id=id_of(item.uri)))
    return list(items.values()), empty


def _at(path: Path) -> list[Item]:
    if path.is_dir():
        return [replace(item, uri=str(path / item.uri)) for item in open_items(f"folder:{path}")]
    return [Item(id_of(str(path)), str(path), path, kind=load.kind(path))]


def picture_rows(
    paths: Sequence[Path], encoder: Encoder, dims: dict[str, int], on_progress: OnProgress = no_progress
) -> tuple[list[str], Inputs]:
    """Several pictures as the rows of a head: the uri of each that decodes, and its vectors; `skipped` has the others.

    paths: as in pictures_at. dims: of the head that is asked. Raises BadRequest, NothingReadable.
    """
    items, empty = pictures_at(paths)
    if not items:
        raise NothingReadable("no picture or sound is there: give others", empty)
    inputs = features.encode(items, encoder, list(dims), on_progress)
    lost = {uri for uri, _ in inputs.skipped}
    kept = [row for row, item in enumerate(items) if item.uri not in lost]
    if not kept:
        raise NothingReadable("none of the pictures decodes: give others", [*inputs.skipped, *empty])
    for name in dims.keys() - inputs.vectors.keys():
        inputs = features.with_vectors(inputs, name, np.zeros((len(items), dims[name]), np.float32))
    return [items[row].uri for row in kept], replace(inputs[np.array(kept)], skipped=[*inputs.skipped, *empty])


def remarks(prepared: PreparedRows) -> list[str]:
    """What a person should know of the rows, a line each: what was left out, what is masked, classes seen once."""
    examples, lines = prepared.examples, []
    if examples.unlabeled:
        lines.append(f"{examples.unlabeled} rows have no {examples.column}: left out")
    if prepared.empty:
        lines.append(f"{prepared.empty} rows have neither a picture or sound that decodes nor a text: left out")
    for name, mask in prepared.inputs.present.items():
        missing = int((~mask.reshape(len(mask), -1).any(1)).sum())
        if missing:
            lines.append(f"{missing} of {len(mask)} rows have no {name}: masked")
    if examples.task == "single":
        once = sum(count == 1 for count in Counter(examples.labels).values())
        if once:
            lines.append(f"{once} classes have one example: kept to learn from")
    return lines


def train_head(
    prepared: PreparedRows, encoder: Encoder, config: HeadConfig,
    on_epoch: OnProgress = no_progress,
) -> tuple[Head, float | None]:  # fmt: skip
    """Fit a head to rows.

    Args:
        prepared: Labelled rows with their vectors, as `prepare` gives them.
        encoder: The one that the vectors come from; the head remembers it and refuses any other.
        config: What to fit, and how.
        on_epoch: Called with (done, total) epochs.

    Returns:
        The head, fitted on all rows; and its score on those that were held out meanwhile to say when to stop: accuracy
        of classes, minus the cross-entropy of several labels, minus the squared error of numbers in units of their
        variance. None where no row was held out.

    Raises:
        BadRequest: There is nothing to tell apart, the config names no fusion or head, or the fit diverges.

    Examples:
        >>> rows = prepare("csv:products.csv?split=train", "articleType", "single", encoder, learn=True)
        >>> head, score = train_head(rows, encoder, HeadConfig(fusion="attention"))
    """
    if config.shared:
        raise BadRequest("one label shares nothing: leave out --set shared=, or give several --label")
    examples = prepared.examples
    names = labeled.classes_of(examples)
    inputs = prepared.inputs.there()
    words = class_vectors(encoder, names) if config.head in WITH_WORDS else None
    fitted = fit(inputs, examples.labels, names, examples.task, config, on_epoch, words)
    head = Head(
        module=fitted.module, config=config, names=names, task=examples.task, column=examples.column,
        dims=inputs.dims, encoder=whereabouts(encoder), fingerprint=encoder.fingerprint, temperature=fitted.temperature,
        center=fitted.center, spread=fitted.spread,
    )  # fmt: skip
    return head, fitted.score


def whereabouts(encoder: Encoder) -> str:
    """The name of an encoder; the path of a run is made absolute, so that it holds from any folder."""
    return str(Path(encoder.name).resolve()) if Path(encoder.name).is_dir() else encoder.name
