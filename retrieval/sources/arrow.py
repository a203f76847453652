"""Rows of Arrow tables as plain values: parquet files and Hugging Face datasets are such tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow

from indexes import typed
from retrieval.errors import BadRequest
from retrieval.sources import values

Names = dict[str, list[str]]  # column -> the names of its classes, which its whole numbers stand for
_FEATURES = b"huggingface"
_KINDS = "_type"


def rows(batch: Any, names: Mapping[str, Sequence[str]], source: str) -> Iterator[dict[str, Any]]:
    """The rows of a batch or table. names: of classes (`class_names`). Raises BadRequest for text that is none."""
    columns = {
        name: _column(batch.column(place), names.get(name), f"{source}: column `{name}`")
        for place, name in enumerate(batch.schema.names)
    }
    for number in range(batch.num_rows):
        yield {name: column[number] for name, column in columns.items()}


def _column(array: Any, classes: Sequence[str] | None, where: str) -> list[Any]:
    try:
        if pyarrow.types.is_timestamp(array.type) and array.type.unit == "ns":
            array = array.cast(pyarrow.timestamp("us", array.type.tz), safe=False)  # Python's own has no finer
        found = array.to_pylist()
    except UnicodeDecodeError as error:
        raise BadRequest(f"{where} has text that is not UTF-8: repair the file") from error
    except (ValueError, OverflowError, pyarrow.ArrowException):
        found = [_single(each) for each in array]
    return [values.plain(_named(each, classes) if classes else each) for each in found]


def _single(scalar: Any) -> Any:
    """A value; None for a time that no calendar has."""
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, pyarrow.ArrowException):
        return None


def _named(value: Any, classes: Sequence[str]) -> Any:
    """A number, or each of a list, as the name of its class; None for what has none, as -1."""
    if isinstance(value, list):
        return [_named(each, classes) for each in value]
    if not isinstance(value, int):
        return value
    return classes[value] if 0 <= value < len(classes) else None


def class_names(features: Mapping[str, Any]) -> Names:
    """The names of classes by column, by the features of a dataset as JSON has them."""
    found = {name: _classes_of(feature) for name, feature in features.items()}
    return {name: classes for name, classes in found.items() if classes}


def _classes_of(feature: Any) -> list[str] | None:
    for _ in range(typed.DEPTH):
        if isinstance(feature, list) and len(feature) == 1:  # as older versions write a list
            feature = feature[0]
        elif isinstance(feature, dict) and feature.get(_KINDS) in ("Sequence", "List", "LargeList"):
            feature = feature.get("feature")
        else:
            break
    if not isinstance(feature, dict) or feature.get(_KINDS) != "ClassLabel":
        return None
    said = feature.get("names")
    return said if isinstance(said, list) and all(isinstance(name, str) for name in said) else None


def class_names_in(schema: Any) -> Names:
    """The same, by what Hugging Face writes into the footer of a parquet file; {} where there is nothing of it."""
    try:
        said = typed.parse((schema.metadata or {}).get(_FEATURES, b"{}"), dict[str, Any])
        return class_names(said["info"]["features"])
    except (typed.Malformed, KeyError, TypeError, AttributeError):
        return {}


def holds_bytes(kind: Any) -> bool:
    """Is there a column of bytes in a type, at any depth? Raises BadRequest where it is nested too deep."""
    layer = [kind]
    for _ in range(typed.DEPTH):
        if any(
            pyarrow.types.is_binary(each) or pyarrow.types.is_large_binary(each)
            or pyarrow.types.is_fixed_size_binary(each) or pyarrow.types.is_binary_view(each) for each in layer
        ):  # fmt: skip
            return True
        layer = [each.field(place).type for each in layer for place in range(each.num_fields)]
        if not layer:
            return False
    raise BadRequest(f"a column is nested more than {typed.DEPTH} deep: leave it out")
