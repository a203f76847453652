"""The command line in this process, and what tests expect of what it says."""

import json

from typer.testing import CliRunner

from cli.main import app


def mmr(*words, typed=None):
    """Run a command. typed: what stands at its standard input."""
    return CliRunner().invoke(app, [str(word) for word in words], input=typed, prog_name="mmr")


def lines(result, code=0):
    """What a command printed with --json, an object a line."""
    assert result.exit_code == code, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def fails(result, code, *parts):
    """Exit code, and one line on stderr that has the parts in order; no traceback and nothing on stdout."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    line = result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.stderr
    at = 0
    for part in parts:
        assert part in line[at:], line
        at = line.index(part, at)
