"""A stand-in for msgspec where it is not installed: nearly every room imports it, for JSON that other hands may have
written, and the benchmark reads what it wrote itself a moment ago. It gives JSON its types and checks no bounds.
"""

import dataclasses
import importlib.util
import sys
from types import ModuleType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

NAME = "msgspec"


def stand_in() -> None:
    """Be msgspec from here on, unless it is installed."""
    if NAME in sys.modules or importlib.util.find_spec(NAME):
        return
    module = ModuleType(NAME, __doc__)
    vars(module).update(Meta=Meta, ValidationError=ValueError, convert=convert)
    sys.modules[NAME] = module


class Meta:
    """Bounds, of which nothing is kept."""

    def __init__(self, **bounds: object) -> None: ...


def convert(value: Any, kind: Any) -> Any:
    """What JSON gave, with dataclasses and tuples where `kind` has them."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return convert(value, inside[0])
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        return kind(**{name: convert(each, hints[name]) for name, each in value.items() if name in hints})
    if origin is list:
        return [convert(each, inside[0]) for each in value]
    if origin is tuple:
        kinds = inside[:1] * len(value) if inside[1:] == (...,) else inside
        return tuple(convert(each, one) for each, one in zip(value, kinds, strict=True))
    return value
