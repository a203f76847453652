"""Settings: what a field of a configuration may hold and what it means, said once, in the field's metadata.

    @dataclass(frozen=True, kw_only=True)
    class Config:
        epochs: float = setting(30.0, "passes over the pictures", above=0)
        loss: str = setting("info_nce", "what is asked of a batch", choices=("info_nce", "sigmoid"))

        def __post_init__(self) -> None:
            check(self)

Validation, `--set` and its messages, `mmr train --settings` and docs/reference/settings.md are all made from it.
"""

import csv
import dataclasses
import difflib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from retrieval.errors import BadRequest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")
_RULE = "rule"
_YES_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_TAKES = {int: "a whole number", float: "a number", bool: "yes or no", str: "a text"}


@dataclass(frozen=True, slots=True)
class Rule:
    """What one field may hold. Bounds that are None do not bind.

    meaning: for people. takes: for people too, where choices and bounds do not say it. group: the heading that begins
    with this field.
    """

    meaning: str
    choices: tuple[Any, ...] = ()
    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None
    multiple: int = 1
    takes: str = ""
    group: str = ""

    def allows(self, value: Any) -> bool:
        """True where a value keeps within choices and bounds."""
        if self.choices:
            return value in self.choices
        return (
            (self.above is None or value > self.above)
            and (self.least is None or value >= self.least)
            and (self.below is None or value < self.below)
            and (self.most is None or value <= self.most)
            and (self.multiple == 1 or value % self.multiple == 0)
        )

    def range(self) -> str:
        """Choices and bounds in words; "" where there are none."""
        if self.choices:
            return f"one of {', '.join(as_text(choice) or repr('') for choice in self.choices)}"
        if self.multiple > 1:
            zero = ", or 0" if self.least == 0 else " above 0" if self.above == 0 else ""
            return f"a multiple of {self.multiple}{zero}"
        bounds = (("above", self.above), ("at least", self.least), ("below", self.below), ("at most", self.most))
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)


class Row(NamedTuple):
    """One setting, as a table shows it."""

    group: str
    name: str
    default: str
    takes: str
    meaning: str


def setting(default: Any, meaning: str, **rule: Any) -> Any:
    """A field of a configuration. rule: the other fields of Rule."""
    return dataclasses.field(default=default, metadata={_RULE: Rule(meaning, **rule)})


def check(config: "DataclassInstance") -> None:
    """Raise BadRequest for the first field of a wrong type, of no finite number, or that does not keep its rule."""
    for field in dataclasses.fields(config):
        value, rule = getattr(config, field.name), _rule(field)
        if not _is_a(value, _kind(field)):
            raise BadRequest(f"{field.name} takes {_TAKES[_kind(field)]}: change it with --set {field.name}=...")
        require(rule.allows(value), field.name, f"must be {rule.range()}")


def require(holds: bool, name: str, what: str) -> None:
    """Raise BadRequest where a setting does not hold what it must."""
    if not holds:
        raise BadRequest(f"{name} {what}: change it with --set {name}=...")


def assign(config: Config, assignments: Iterable[str]) -> Config:
    """A copy of a configuration with `field=value` texts applied.

    Raises BadRequest, with the nearest name for an unknown field, and with an example for a value of another type.
    """
    kinds = {field.name: _kind(field) for field in dataclasses.fields(config)}
    changes: dict[str, Any] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"one of {', '.join(kinds)}"
            raise BadRequest(f"no setting `{name}`: {hint}")
        try:
            changes[name] = _read(value if equals else None, kinds[name])
        except (ValueError, KeyError):
            example = as_text(getattr(config, name))
            raise BadRequest(f"--set {text}: {name} takes {_TAKES[kinds[name]]}, as in {name}={example}") from None
    return dataclasses.replace(config, **changes)


def listed(text: str) -> list[str]:
    """Names between commas, each once; one that holds a comma stands in double quotes, as in a csv."""
    cells = [cell for row in csv.reader([text], skipinitialspace=True) for cell in row]
    return list(dict.fromkeys(cell.strip() for cell in cells if cell.strip()))


def _read(text: str | None, kind: type) -> Any:
    """What is typed as a value of that type. Raises ValueError or KeyError where it is none; None: nothing is typed."""
    if text is None:
        raise ValueError("no value")
    return _YES_NO[text.lower()] if kind is bool else kind(text)


def from_json(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """The configuration that a JSON object holds. "yes" and "no" of earlier versions are read as true and false.

    Raises BadRequest for values that are not allowed, TypeError for names that are none and for what is no object.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"a {type(values).__name__} in place of settings")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    read = {
        name: _YES_NO.get(value, value) if name in fields and _kind(fields[name]) is bool and isinstance(value, str)
        else value for name, value in values.items()
    }  # fmt: skip
    return kind(**read)


def table(kind: "type[DataclassInstance]") -> list[Row]:
    """Every setting of a configuration, in the order in which they are defined."""
    rows, group = [], ""
    for field in dataclasses.fields(kind):
        rule = _rule(field)
        group = rule.group or group
        takes = rule.takes or rule.range() or _TAKES[_kind(field)]
        rows.append(Row(group, field.name, as_text(field.default), takes, rule.meaning))
    return rows


def as_text(value: object) -> str:
    """A value as it is typed behind `--set name=`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and float(short := f"{value:g}") == value:
        return short
    return str(value)


def _rule(field: dataclasses.Field) -> Rule:
    return field.metadata[_RULE]


def _kind(field: dataclasses.Field) -> type:
    """The type of a field: int, float, bool or str."""
    assert isinstance(field.type, type), f"{field.name}: the annotation of a setting is a type, not its name"
    return field.type


def _is_a(value: object, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    if kind is float:  # a recipe may say 3 where 3.0 is meant; NaN and infinity are no numbers
        return isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return isinstance(value, kind)
