"""`mmr search`: from parsed words to one call of Retriever.search, and its answers."""

from pathlib import Path

from cli import sheet, show
from retrieval import Retriever, find_index
from retrieval.query import is_picture


def run(
        query: str, index_dir: Path | None, k: int, where: str | None, exact: bool, as_json: bool, html: Path | None,
    model: str | None, device: str,
) -> int:  # fmt: skip
    """Search and show; the exit code."""
    path = index_dir or find_index()
    with Retriever.open(path, _given(model, device), device) as retriever:
        found = retriever.search(query, k, where, exact)
    show.hits(found, as_json)
    if html:
        picture = Path(query) if is_picture(query) else None
        sheet.write(html, query, [sheet.Section(query, found, picture=picture)])
        show.note(f"contact sheet: {html}")
    return show.OK if found else show.NONE


def _given(model: str | None, device: str):  # noqa: ANN202 - an encoder, or None for the index's own
    if model is None:
        return None
    from retrieval import load_encoder

    return load_encoder(model, device)
