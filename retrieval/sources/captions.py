"""What a source says as captions, in whatever form it has them: the one place that tells a caption from none."""

from retrieval.sources.values import whole


def captions_of(value: object) -> tuple[str, ...]:
    """The captions in a cell, a key or a list: stripped, in their order, without what says nothing.

    None, NaN and blank texts are no captions, neither alone nor in a list; nor are objects and lists in lists. A number
    is its text.
    """
    parts = value if isinstance(value, list | tuple) else (value,)
    return tuple(text for part in parts if (text := _text_of(part)))


def _text_of(value: object) -> str:
    if value is None or value != value or isinstance(value, dict | list | tuple | bytes):
        return ""
    return whole(str(value)).strip()


def captions_in(text: str) -> tuple[str, ...]:
    """The captions in a text file: one a line."""
    return captions_of(text.splitlines())
