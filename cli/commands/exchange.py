"""`mmr import` and `mmr export`: from parsed words to one call, and what is shown meanwhile."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.options import IndexDir
from cli.output import show, target

importing = typer.Typer(no_args_is_help=True, help="Make an index of what another tool encoded: nothing is done again.")
exporting = typer.Typer(no_args_is_help=True, help="Write an index's vectors and records for other tools.")

NewIndex = Annotated[Path, typer.Option("--index", help="The index folder to make.", metavar="DIR")]
Root = Annotated[
    Path | None, typer.Option(help="The folder of the pictures; those outside are left out.", metavar="DIR")
]
Model = Annotated[
    str | None, typer.Option("--model", "-m", help="The encoder that made the vectors; compared when it is loaded.")
]
KeepMissing = Annotated[bool, typer.Option("--keep-missing", help="Also take pictures whose file is not here.")]
Dtype = Annotated[Literal["float16", "float32"], typer.Option(help="float16 is what the index holds.")]
HERE = Path(".mmr")


@importing.command("rclip")
@show.guarded
def import_rclip(
    database: Annotated[
        Path | None, typer.Argument(help="Its db.sqlite3; bare: your own.", metavar="DB", show_default=False)
    ] = None,
    index_dir: NewIndex = HERE,
    root: Root = None,
    model: Model = None,
    keep_missing: KeepMissing = False,
) -> None:
    """The pictures of an rclip database that are still there. Its encoder is known: ViT-B-32-256, preset `small`.

    mmr import rclip --index photos.mmr
    """
    _import("rclip", database, index_dir, root, model, keep_missing)


@importing.command("clip-retrieval")
@show.guarded
def import_clip_retrieval(
    folder: Annotated[Path, typer.Argument(help="What `clip-retrieval inference` wrote.")],
    index_dir: NewIndex = HERE,
    root: Root = None,
    model: Model = None,
    keep_missing: KeepMissing = False,
) -> None:
    """img_emb/*.npy with metadata/*.parquet. Pictures are named by image_path, url or key.

    mmr import clip-retrieval embeddings --index photos.mmr --root ~/Pictures
    """
    _import("clip-retrieval", folder, index_dir, root, model, keep_missing)


@importing.command("npy")
@show.guarded
def import_npy(
    vectors: Annotated[Path, typer.Argument(help="A .npy of float rows (n, d).")],
    records: Annotated[
        Path | None, typer.Option(help="A .parquet, .csv or .jsonl with a row for each vector.", metavar="TABLE")
    ] = None,
    index_dir: NewIndex = HERE,
    root: Root = None,
    model: Model = None,
    keep_missing: KeepMissing = False,
) -> None:
    """Bare vectors, with a table of what they are of: a column image_path (or image, url, key), caption, any other.

    mmr import npy vectors.npy --records pictures.csv --index photos.mmr
    """
    _import("npy", vectors, index_dir, root, model, keep_missing, records)


@importing.command("parquet")
@show.guarded
def import_parquet(
    file: Annotated[Path, typer.Argument(help="A parquet file with a column `embedding`.")],
    index_dir: NewIndex = HERE,
    root: Root = None,
    model: Model = None,
    keep_missing: KeepMissing = False,
) -> None:
    """One table with a column `embedding` of lists of floats, the other columns as for npy.

    mmr import parquet vectors.parquet --index photos.mmr
    """
    _import("parquet", file, index_dir, root, model, keep_missing)


@exporting.command("clip-retrieval")
@show.guarded
def export_clip_retrieval(
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
    index_dir: IndexDir = None,
    dtype: Dtype = "float16",
) -> None:
    """The folder that `clip-retrieval index` and `back` read: img_emb/*.npy, metadata/*.parquet.

    mmr export clip-retrieval embeddings --index photos.mmr
    """
    _export("clip-retrieval", out, index_dir, dtype)


@exporting.command("npy")
@show.guarded
def export_npy(
    out: Annotated[Path, typer.Argument(help="The .npy to make; the records go to a .parquet beside it.")],
    index_dir: IndexDir = None,
    dtype: Dtype = "float16",
) -> None:
    """One .npy of rows (n, d), and what they are of in a .parquet beside it.

    mmr export npy vectors.npy --index photos.mmr
    """
    _export("npy", out, index_dir, dtype)


@exporting.command("parquet")
@show.guarded
def export_parquet(
    out: Annotated[Path, typer.Argument(help="The .parquet to make.")],
    index_dir: IndexDir = None,
) -> None:
    """One table: image_path, caption, the other fields, and `embedding`, a list of float32.

    mmr export parquet vectors.parquet --index photos.mmr
    """
    _export("parquet", out, index_dir, "float32")


def _import(
    kind: str, source: Path | None, index: Path, root: Path | None, model: str | None, keep_missing: bool,
    records: Path | None = None,
) -> None:  # fmt: skip
    from retrieval.exchange import import_into, open_collection
    from retrieval.exchange.importing import GONE, NO_FILE, OUTSIDE, REPEATED

    target.check_place(index, "--index")
    collection = open_collection(kind, source, root, records)
    with show.Meter("importing", "rows") as meter:
        report = import_into(index, collection, model, root, keep_missing, meter)
    if report.normalized:
        show.note(f"{report.normalized} vectors were not of unit length: normalised")
    if report.changed:
        show.note(f"{report.changed} files have changed since: `mmr index` will encode them again")
    for reason, (count, first) in report.left_out.items():
        way_on = " (--keep-missing takes them)" if reason in (GONE, NO_FILE) else ""
        show.note(f"{count} left out: {reason}, as {first}{way_on}")
    known = report.fingerprint or "compared with the vectors when it is first loaded"
    place = f", pictures in {report.root}" if report.root else ""
    show.out(f"{index}: {report.rows} of {collection.total} rows, encoder {report.encoder} ({known}){place}")
    raise typer.Exit(show.SKIPPED if set(report.left_out) - {OUTSIDE, REPEATED} else show.OK)


def _export(kind: str, out: Path, index_dir: Path | None, dtype: str) -> None:
    from indexes import Store
    from retrieval import find_index
    from retrieval.exchange import export

    target.check_place(out, "OUT")
    with Store.open(index_dir or find_index()) as store, show.Meter("exporting", "rows") as meter:
        written = export(kind, store, out, meter, dtype)
        show.out(f"{', '.join(map(str, written))}: {len(store)} rows of {store.dim}")
