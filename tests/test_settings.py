"""Settings: what a field may hold, how it is typed and read again, and what is said where it is wrong."""

import dataclasses
import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import BadRequest
from retrieval.heads.config import HeadConfig
from retrieval.settings import Row, Rule, as_text, assign, check, from_json, setting, table
from retrieval.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Kiln:
    heat: float = setting(900.0, "degrees", above=0, most=1300, group="The fire")
    share: float = setting(1 / 3, "of the air", least=0, below=1)
    racks: int = setting(3, "in the kiln")
    tile: int = setting(32, "millimeters", multiple=16, above=0, group="What is fired")
    gap: int = setting(0, "between tiles", multiple=4, least=0)
    glaze: str = setting("clear", "over it", choices=("clear", "matte", ""))
    note: str = setting("", "for people", takes="what you like")
    lid: bool = setting(True, "is shut")

    def __post_init__(self):
        check(self)


@pytest.mark.parametrize(
    ("typed", "name", "value"),
    [
        ("heat=1300", "heat", 1300.0),
        ("heat=1e-3", "heat", 0.001),
        ("share=0", "share", 0.0),
        ("racks=-2", "racks", -2),
        ("tile=48", "tile", 48),
        ("gap=0", "gap", 0),
        ("gap=8", "gap", 8),
        ("glaze=", "glaze", ""),
        ("note=a=b", "note", "a=b"),
        ("lid=no", "lid", False),
        ("lid=TRUE", "lid", True),
        ("lid=0", "lid", False),
    ],
)
def test_what_is_typed_is_what_is_set(typed, name, value):
    changed = assign(Kiln(), [typed])
    assert changed == dataclasses.replace(Kiln(), **{name: value})
    assert type(getattr(changed, name)) is type(value)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("heat=0", "heat must be above 0 and at most 1300: change it with --set heat=..."),
        ("heat=1300.1", "heat must be above 0 and at most 1300: change it with --set heat=..."),
        ("share=1", "share must be at least 0 and below 1: change it with --set share=..."),
        ("share=-0.1", "share must be at least 0 and below 1: change it with --set share=..."),
        ("tile=40", "tile must be a multiple of 16 above 0: change it with --set tile=..."),
        ("tile=0", "tile must be a multiple of 16 above 0: change it with --set tile=..."),
        ("gap=6", "gap must be a multiple of 4, or 0: change it with --set gap=..."),
        ("gap=-4", "gap must be a multiple of 4, or 0: change it with --set gap=..."),
        ("glaze=blue", "glaze must be one of clear, matte, '': change it with --set glaze=..."),
        ("heat=nan", "heat takes a number: change it with --set heat=..."),
        ("heat=-inf", "heat takes a number: change it with --set heat=..."),
        ("racks=3.5", "--set racks=3.5: racks takes a whole number, as in racks=3"),
        ("racks=many", "--set racks=many: racks takes a whole number, as in racks=3"),
        ("heat=hot", "--set heat=hot: heat takes a number, as in heat=900"),
        ("lid=maybe", "--set lid=maybe: lid takes yes or no, as in lid=yes"),
        ("lid", "--set lid: lid takes yes or no, as in lid=yes"),
        ("racks", "--set racks: racks takes a whole number, as in racks=3"),
        ("glaze", "--set glaze: glaze takes a text, as in glaze=clear"),
        ("note", "--set note: note takes a text, as in note="),
        ("rack=3", "no setting `rack`: did you mean `racks`?"),
        ("xyz=3", "no setting `xyz`: one of heat, share, racks, tile, gap, glaze, note, lid"),
        ("", "no setting ``: one of heat, share, racks, tile, gap, glaze, note, lid"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(typed, message):
    with pytest.raises(BadRequest) as caught:
        assign(Kiln(), [typed])
    assert str(caught.value) == message


def test_no_number_is_endless():
    """Comparisons with bounds let infinity through where there is no upper one."""

    @dataclass(frozen=True)
    class Open:
        size: float = setting(1.0, "of it", above=0)

    for number in (float("inf"), float("nan"), 10**400):
        with pytest.raises(BadRequest, match="^size takes a number"):
            check(Open(number))
    check(Open(10**300))


@pytest.mark.parametrize(
    ("name", "value", "takes"),
    [
        ("heat", "900", "a number"),
        ("heat", True, "a number"),
        ("heat", None, "a number"),
        ("racks", 3.0, "a whole number"),
        ("racks", False, "a whole number"),
        ("glaze", 3, "a text"),
        ("lid", 1, "yes or no"),
        ("lid", "no", "yes or no"),
    ],
)
def test_a_value_of_another_type_is_refused(name, value, takes):
    with pytest.raises(BadRequest, match=f"^{name} takes {takes}: change it with --set {name}=...$"):
        Kiln(**{name: value})


def test_a_whole_number_will_do_where_a_number_is_asked():
    assert Kiln(heat=3).heat == 3


def test_the_last_of_two_assignments_holds():
    assert assign(Kiln(), ["racks=1", "lid=no", "racks=2"]) == Kiln(racks=2, lid=False)


def test_settings_come_back_from_json_and_from_that_of_earlier_versions():
    kiln = Kiln(heat=3, lid=False, note="yes", share=0.1)
    written = json.loads(json.dumps(dataclasses.asdict(kiln)))
    assert from_json(Kiln, written) == kiln
    assert from_json(Kiln, written | {"lid": "no"}) == kiln  # a text is read as yes or no where the field is
    assert from_json(Kiln, {"lid": "yes"}) == Kiln()
    with pytest.raises(TypeError, match="a list in place of settings"):
        from_json(Kiln, [1])
    with pytest.raises(BadRequest, match="^lid takes yes or no"):
        from_json(Kiln, {"lid": "perhaps"})
    with pytest.raises(BadRequest, match="^racks takes a whole number"):
        from_json(Kiln, {"racks": "3"})
    with pytest.raises(TypeError, match="rack"):
        from_json(Kiln, {"rack": 3})


def test_the_table_names_every_setting():
    assert table(Kiln) == [
        Row("The fire", "heat", "900", "above 0 and at most 1300", "degrees"),
        Row("The fire", "share", "0.3333333333333333", "at least 0 and below 1", "of the air"),
        Row("The fire", "racks", "3", "a whole number", "in the kiln"),
        Row("What is fired", "tile", "32", "a multiple of 16 above 0", "millimeters"),
        Row("What is fired", "gap", "0", "a multiple of 4, or 0", "between tiles"),
        Row("What is fired", "glaze", "clear", "one of clear, matte, ''", "over it"),
        Row("What is fired", "note", "", "what you like", "for people"),
        Row("What is fired", "lid", "yes", "yes or no", "is shut"),
    ]


@pytest.mark.parametrize("config", [TrainConfig, HeadConfig])
def test_the_projects_own_configurations_say_all_of_themselves(config):
    rows = table(config)
    assert [row.name for row in rows] == [field.name for field in dataclasses.fields(config)]
    assert all(row.takes and row.meaning and row.group for row in rows)
    assert assign(config(), [f"{row.name}={row.default}" for row in rows]) == config()


def test_choices_are_words_as_they_are_typed():
    assert Rule("", choices=(True, False)).range() == "one of yes, no"
    assert Rule("", choices=(0.5, 2)).range() == "one of 0.5, 2"
    assert Rule("").range() == ""


@given(
    heat=st.floats(0, 1300, exclude_min=True),
    share=st.floats(0, 1, exclude_max=True),
    racks=st.integers(),
    tile=st.integers(1).map(lambda count: 16 * count),
    glaze=st.sampled_from(("clear", "matte", "")),
    note=st.text(),
    lid=st.booleans(),
)
def test_what_is_shown_can_be_typed_again(**values):
    kiln = Kiln(**values)
    assert assign(Kiln(), [f"{name}={as_text(value)}" for name, value in values.items()]) == kiln
