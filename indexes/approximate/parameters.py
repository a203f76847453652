"""How FAISS is told to search: its parameter objects, made for the kind of index that they are for.

Their constructors take fields as keywords, which FAISS's stubs do not know: hence Any.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import faiss


def for_effort(index: "faiss.Index", effort: int) -> "faiss.SearchParameters | None":
    """To visit so many lists, at most all of them, or nodes of a graph; None for an index that has neither."""
    import faiss

    known: Any = faiss
    if inverted := faiss.try_extract_index_ivf(index):
        # Asked for more lists than there are, FAISS's fast-scan answers wrong rows, and no error.
        inside = known.SearchParametersIVF(nprobe=min(effort, inverted.nlist))
        return for_transform(inside) if isinstance(faiss.downcast_index(index), faiss.IndexPreTransform) else inside
    inner = faiss.downcast_index(index.index) if hasattr(index, "index") else index
    return known.SearchParametersHNSW(efSearch=effort) if isinstance(inner, faiss.IndexHNSW) else None


def for_transform(inside: "faiss.SearchParameters | None") -> "faiss.SearchParameters":
    """For an index that transforms its queries before it asks the one inside."""
    import faiss

    known: Any = faiss
    return known.SearchParametersPreTransform(index_params=inside)


def for_refine(base: "faiss.SearchParameters | None", factor: float) -> "faiss.SearchParameters":
    """For IndexRefine: `factor` times as many rows are fetched from its base as are asked for."""
    import faiss

    known: Any = faiss
    return known.IndexRefineSearchParameters(k_factor=factor, base_index_params=base)
