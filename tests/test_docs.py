"""The documents tell the truth: their Python and marked commands run, what they name exists, what is made is fresh.

A console block behind `<!-- run -->` is run, the blocks of a page in order in one folder. Each line that it shows must
come, whatever its numbers, and of an answer whatever its picture. Pages find a small `mmr-demo` there, as `mmr demo`
leaves it.

What stands behind `<!-- run: builtin -->` takes the packages' weights, and time: it is for `make soak`. It finds
`~/photos`, and pairs in `~/others.csv`. A table that `mmr sample` has written is then filled in, as a person would.
"""

import csv
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

import eval
import indexes
import retrieval
from cli.output import show
from docs import generate
from retrieval import packages
from retrieval.encoders import builtin
from retrieval.sources.picturebook import scenes
from terminal import mmr

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LOG = DOCS / "log.md"  # of the past: it names what was, not what is
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(set(DOCS.rglob("*.md")) - {LOG})]
COMMANDS = {command.name: command for command in generate.commands()}
FENCE = re.compile(r"^```(\w+)?\n(.*?)^```", re.DOTALL | re.MULTILINE)
MARKED = re.compile(r"<!-- run -->\n```console\n(.*?)```", re.DOTALL)
OF_BUILTIN = re.compile(r"<!-- run: builtin -->\n```console\n(.*?)```", re.DOTALL)
RAN = [page for page in PAGES if MARKED.search(page.read_text())]
RAN_OF_BUILTIN = [page for page in PAGES if OF_BUILTIN.search(page.read_text())]


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def blocks(page, language):
    return [body for kind, body in FENCE.findall(page.read_text()) if kind == language]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def demo(tmp_path_factory, trained):
    """What `mmr demo` leaves, but few scenes and an encoder that knows next to nothing."""
    root = tmp_path_factory.mktemp("docs") / "mmr-demo"
    (root / "scenes").mkdir(parents=True)
    for number, scene in enumerate(scenes(60, "test")):
        scene.draw(48).save(root / "scenes" / f"test-{number:05d}.png")
        (root / "scenes" / f"test-{number:05d}.txt").write_text(scene.full_caption() + "\n")
    shutil.copytree(trained, root / "run")
    return root


# ---------------------------------------------------------------- what runs


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_the_python_runs(page, folder, demo, capsys):
    shutil.copytree(demo, folder / "mmr-demo")
    names = {}
    for code in blocks(page, "python"):
        exec(compile(code, name_of(page), "exec"), names)
    said = capsys.readouterr().out
    if "retriever.search" in page.read_text():
        assert re.search(r"^1 .*\n2 .*\n3 ", said, re.MULTILINE), said


def shape(line):
    """What of a line is the same each time: of an answer its rank, else all but its numbers and what they say."""
    answer = re.match(r"\s*\d+\s+-?\d\.\d+  ", line)
    if answer:
        return "answer"
    line = re.sub(r"^\{.*\}$", "{}", line)
    line = re.sub(r"(?<=\d%)\*|(?<=\d)\*| (yes|no)$", "", line)  # what is sure depends on the numbers
    return re.sub(r"\s+", " ", re.sub(r"\b[0-9a-f]{16}\b|[+-]?\d[\d.,:x-]*", "#", line)).strip()


def commands_of(block):
    """(command, what is shown of its output) of a console block."""
    joined = block.replace("\\\n", " ")
    steps = []
    for line in joined.splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], []))
        elif line.strip() and steps:
            steps[-1][1].append(line)
    return steps


@pytest.mark.parametrize("page", RAN, ids=name_of)
def test_the_marked_commands_run_and_show_what_is_shown(page, folder, demo):
    shutil.copytree(demo, folder / "mmr-demo")
    for block in MARKED.findall(page.read_text()):
        for command, shown in commands_of(block):
            words = shlex.split(command, comments=True)
            if words[0] != "mmr":
                subprocess.run(words, check=True)
            else:
                shows(words[1:], shown)


def shows(words, shown):
    """Run a command of `mmr`, in which each of the lines must come."""
    result = mmr(*words)
    assert result.exit_code == show.OK, (words, result.output)
    came = [shape(line) for line in (result.stdout + result.stderr).splitlines()]
    for line in shown:
        assert shape(line) in came, (words, line, result.output)


@pytest.fixture
def home(folder, monkeypatch):
    """A home with photos/, and with others.csv, whose pairs are not of them."""
    for kind, count in (("photos", 104), ("others", 12)):
        (folder / kind).mkdir()
        drawn = list(enumerate(scenes(count, kind)))
        for number, scene in drawn:
            scene.draw(48).save(folder / kind / f"{number}.png")
        rows = [{"image": f"{kind}/{number}.png", "caption": scene.full_caption()} for number, scene in drawn]
        write(folder / f"{kind}.csv", rows)
    monkeypatch.setenv("HOME", str(folder))
    return folder


def write(table, rows):
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["image", "caption"])
        writer.writeheader()
        writer.writerows(rows)


def fill_in(table, home):
    """Write a caption beside each picture of a table that `mmr sample` has made."""
    with (home / "photos.csv").open() as file:
        captions = {Path(row["image"]).name: row["caption"] for row in csv.DictReader(file)}
    with table.open(encoding="utf-8-sig") as file:
        rows = [{"image": row["image"], "caption": captions[row["image"]]} for row in csv.DictReader(file)]
    write(table, rows)


@pytest.mark.slow
@pytest.mark.parametrize("page", RAN_OF_BUILTIN, ids=name_of)
def test_the_session_with_builtin_runs_and_shows_what_is_shown(page, home, monkeypatch):
    if not all(packages.is_installed(packages.PACKAGES[name]) for name in builtin.PARTS):
        pytest.skip("the packages of builtin are not installed")
    for command, shown in commands_of("".join(OF_BUILTIN.findall(page.read_text()))):
        words = shlex.split(command, comments=True)
        if words[0] == "cd":
            monkeypatch.chdir(Path(words[1]).expanduser())
            continue
        shows(words[1:], shown)
        if words[1] == "sample":
            fill_in(Path(words[words.index("--csv") + 1]), home)


# ---------------------------------------------------------------- what is named


def spoken(page):
    """Every command line that a page shows or names: the words behind `mmr`."""
    text = FENCE.sub("", page.read_text())
    lines = [line for block in blocks(page, "console") for line, _ in commands_of(block)]
    lines += re.findall(r"(?<!`)`([^`\n]*\bmmr [^`\n]*)`(?!`)", text)
    for line in lines:
        for part in re.split(r"[|;]|&&", line):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:  # an apostrophe in what is no shell
                words = part.split()
            if "mmr" in words:
                yield words[words.index("mmr") + 1 :]


def called(words):
    """(command, the words behind it)."""
    if len(words) > 1 and f"{words[0]} {words[1]}" in COMMANDS:
        return f"{words[0]} {words[1]}", words[2:]
    return words[0] if words else "", words[1:]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_and_option_that_is_named_exists(page):
    groups = generate.groups()
    for words in spoken(page):
        name, rest = called(words)
        if not name or name.startswith("-"):
            assert name in ("", "--help", "--install-completion", "--version"), words
            continue
        assert name in COMMANDS or name in groups, words
        own = [one for one in COMMANDS.values() if one.name == name or one.name.startswith(f"{name} ")]
        known = {part for one in own for option in one.parameters for text in option.names for part in text.split("/")}
        for word in rest:
            option = word.split("=")[0]
            if re.fullmatch(r"--?[a-zA-Z0-9][a-z-]*", option):
                assert option in known | {"--help", "-h"}, (words, option)


def test_every_command_of_the_app_has_help_and_stands_in_the_reference():
    reference = (DOCS / "reference" / "commands.md").read_text()
    for name in COMMANDS:
        assert mmr(*name.split(), "--help").exit_code == 0
        assert f"`mmr {name}`" in reference


def test_every_public_name_stands_in_the_api():
    documented = set(re.findall(r"^::: ([\w.]+)$", (DOCS / "reference" / "api.md").read_text(), re.MULTILINE))
    assert "retrieval.training.recipes" in documented
    for package in (retrieval, indexes, eval):
        for name in set(package.__all__) - {"RECIPES", "recipes"}:
            module = getattr(package, name).__module__
            assert {module, f"{module}.{name}"} & documented, name


def test_exit_codes_are_those_of_the_code():
    table = re.findall(r"^\| (\d+) \|", (DOCS / "reference" / "exit-codes.md").read_text(), re.MULTILINE)
    codes = [show.OK, show.NONE, show.USAGE, show.MISSING, show.SKIPPED, show.MACHINE, show.INTERRUPTED]
    assert table == [str(code) for code in codes]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_settings_that_are_named_exist(page):
    fields = {row.name for kind in (generate.TrainConfig, generate.HeadConfig) for row in generate.table(kind)}
    for name in re.findall(r"--set ([a-z0-9_]+)=", page.read_text()):
        assert name in fields | {"name", "field"}, name


# ---------------------------------------------------------------- what is linked, what is generated


def anchors(page):
    text = FENCE.sub("", page.read_text())
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {_slug(title) for title in titles} | set(re.findall(r"\{#([\w-]+)\}", text))


def _slug(title):
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip())


@pytest.mark.parametrize("page", [*PAGES, LOG], ids=name_of)
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text)):
        if re.match(r"https?:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        assert found.is_file(), target
        assert not anchor or anchor in anchors(found), target


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    named = set(re.findall(r"[\w/-]+\.md", navigation))
    assert named == {file.relative_to(DOCS).as_posix() for file in DOCS.rglob("*.md")}


@pytest.mark.parametrize("file", generate.pages(), ids=lambda file: file.name)
def test_what_is_generated_is_up_to_date(file):
    assert file.read_text() == generate.pages()[file], "run `python -m docs.generate`"


def test_no_picture_is_heavy():
    pictures = [file for file in DOCS.rglob("*") if file.suffix in (".png", ".jpg", ".webp")]
    assert pictures
    assert [file for file in pictures if file.stat().st_size > 150_000] == []


# ---------------------------------------------------------------- the tree


def tree():
    """Paths of the tree in architecture.md, folders with their slash: by how far a line is set in."""
    (block,) = [body for body in blocks(DOCS / "explanation" / "architecture.md", "text") if "tests/" in body]
    paths, above = set(), []
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        above[depth:] = [name.rstrip("/")]
        paths.add("/".join(above) + ("/" if name.endswith("/") else ""))
    return paths


def test_the_tree_names_every_module_and_nothing_else():
    paths = tree()
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
    split = {path.rsplit("/", 1)[0] + "/" for path in paths if path.endswith(".py")}  # folders told file by file
    for package in ("indexes", "retrieval", "eval", "cli"):
        for file in sorted((ROOT / package).rglob("*.py")):
            path = file.relative_to(ROOT).as_posix()
            room = path.rsplit("/", 1)[0] + "/"
            if file.name != "__init__.py":
                assert path in paths or (room in paths and room not in split), f"{path} is not in the tree"


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    command = ["python", "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(
        [os.sys.executable, *command[1:]], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "true"},
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "site" / "index.html").is_file()
