"""`--settings`: every setting, its default, range and meaning, on lines that fit."""

import dataclasses

import pytest

from cli.output.settings_table import text
from retrieval.heads.config import HeadConfig
from retrieval.settings import Row
from retrieval.training.config import TrainConfig
from terminal import mmr


def test_the_table_by_hand():
    rows = [
        Row("First", "encoder", "", "a name", "what is trained, in words that do not fit on a line"),
        Row("First", "lr", "0.001", "one of the many things that a rate may be", "the rate"),
        Row("Second", "seed", "0", "a whole number", "seed of what is drawn"),
    ]
    assert text(rows, 70).splitlines() == [
        "Change one with --set NAME=VALUE. A default of nothing is an empty VALUE.",
        "",
        "setting  default  takes                       meaning",
        "",
        "First",
        "encoder  nothing  a name                      what is trained, in",
        "                                              words that do not fit on",
        "                                              a line",
        "lr       0.001    one of the many things      the rate",
        "                  that a rate may be",
        "",
        "Second",
        "seed     0        a whole number              seed of what is drawn",
    ]


@pytest.mark.parametrize(("words", "config"), [(("train",), TrainConfig), (("head", "train"), HeadConfig)])
def test_every_setting_is_shown_without_a_source_or_a_folder(words, config):
    result = mmr(*words, "--settings")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    names = [field.name for field in dataclasses.fields(config)]
    assert [line.split()[0] for line in lines if line[:1].strip() and line.split()[0] in names] == names


def test_without_it_a_source_is_asked_for_as_ever():
    result = mmr("train")
    assert result.exit_code == 2
    assert "missing argument 'SOURCE...'" in result.stderr
