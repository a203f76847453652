"""Settings: what a field of a configuration may hold and what it means, said once, in the field's metadata.

    @dataclass(frozen=True, kw_only=True)
    class Config:
        epochs: float = setting(30.0, "passes over the pictures", above=0)
        loss: str = setting("info_nce", "what is asked of a batch", choices=("info_nce", "sigmoid"))

        def __post_init__(self) -> None:
            check(self)

Validation, `--set` and its messages, `mmr train --settings` and docs/reference/settings.md are all made from it.
"""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from retrieval.errors import BadRequest

Config = TypeVar("Config")
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
        """Does the value keep within choices and bounds?"""
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
            return f"one of {', '.join(str(choice) or repr('') for choice in self.choices)}"
        if self.multiple > 1:
            return f"a multiple of {self.multiple}" + (", or 0" if self.least == 0 else "")
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


def check(config: Any) -> None:
    """Raise BadRequest for the first field of a wrong type, or that does not keep its rule."""
    for field in dataclasses.fields(config):
        value, rule = getattr(config, field.name), _rule(field)
        if not _is_a(value, field.type):
            raise BadRequest(f"{field.name} takes {_TAKES[field.type]}: change it with --set {field.name}=...")
        require(rule.allows(value), field.name, f"must be {rule.range()}")


def require(holds: bool, name: str, what: str) -> None:
    """Raise BadRequest where a setting does not hold what it must."""
    if not holds:
        raise BadRequest(f"{name} {what}: change it with --set {name}=...")


def assign(config: Config, assignments: Iterable[str]) -> Config:
    """A copy of a configuration with `field=value` texts applied.

    Raises BadRequest, with the nearest name for an unknown field, and with an example for a value of another type.
    """
    kinds: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    changes = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"one of {', '.join(kinds)}"
            raise BadRequest(f"no setting `{name}`: {hint}")
        try:
            changes[name] = _YES_NO[value.lower()] if kinds[name] is bool else kinds[name](value if equals else None)
        except (TypeError, ValueError, KeyError):
            example = as_text(getattr(config, name))
            raise BadRequest(f"--set {text}: {name} takes {_TAKES[kinds[name]]}, as in {name}={example}") from None
    return dataclasses.replace(config, **changes)  # type: ignore[type-var]


def from_json(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """The configuration that a JSON object holds. "yes" and "no" of earlier versions are read as true and false.

    Raises BadRequest for values that are not allowed, TypeError for names that are none.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    read = {
        name: _YES_NO.get(value, value) if name in fields and fields[name].type is bool and isinstance(value, str)
        else value for name, value in values.items()
    }  # fmt: skip
    return kind(**read)


def table(kind: type) -> list[Row]:
    """Every setting of a configuration, in the order in which they are defined."""
    rows, group = [], ""
    for field in dataclasses.fields(kind):
        rule = _rule(field)
        group = rule.group or group
        takes = rule.takes or rule.range() or _TAKES[field.type]  # type: ignore[index]
        rows.append(Row(group, field.name, as_text(field.default), takes, rule.meaning))
    return rows


def as_text(value: object) -> str:
    """A value as it is typed behind `--set name=`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _rule(field: dataclasses.Field) -> Rule:
    return field.metadata[_RULE]


def _is_a(value: object, kind: Any) -> bool:
    if kind is float:  # a recipe may say 3 where 3.0 is meant
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
