"""The README tells the truth: its Python runs, its tree is the tree, its commands exist."""

import re
from pathlib import Path

from cli.main import app
from terminal import mmr

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def block(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = block("python")
    exec(compile(code, "README.md", "exec"), {})
    said = capsys.readouterr().out
    assert "text-to-image" in said
    assert [line.split()[0] for line in said.splitlines()[-3:]] == ["1", "2", "3"]


def test_every_command_of_the_readme_exists():
    commands = set(re.findall(r"mmr ([a-z]+)\b", "\n".join(block("console")) + README[README.index("## Commands") :]))
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    assert known == {
        *("demo", "train", "eval", "index", "search", "ls", "rm", "dups", "info", "verify", "compact", "models"),
        *("import", "export", "head", "classify", "label", "blend", "snapshot"),
    }
    assert commands <= known | {"is"}
    for name in known:
        assert mmr(name, "--help").exit_code == 0
