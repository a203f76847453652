"""The page of `mmr serve`, as files: small, of this server alone, without markup in texts, every name it uses there."""

import gzip
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "cli" / "serve" / "page"
MODULES = sorted(PAGE.glob("*.js"))
MOST_BYTES = 60_000  # compressed, of all files
LONGEST = 200  # lines of a module
SPOKEN = ("aria-labelledby", "aria-describedby", "aria-controls", "for")  # attributes that name an id


class Tags(HTMLParser):
    """(tag, attributes) of a document, and the texts inside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if data.strip() and self.tags and self.tags[-1][0] in ("script", "style"):
            self.inline.append(data)


def read(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def document() -> Tags:
    return Tags(read("index.html"))


def made_ids() -> set[str]:
    """The ids that elements have, in the document or made by a module."""
    told = {attributes["id"] for _, attributes in Tags(read("index.html")).tags if "id" in attributes}
    return told | {found for one in MODULES for found in re.findall(r"\bid: \"([\w-]+)\"", one.read_text("utf-8"))}


def test_page_is_small() -> None:
    """Each file is sent by itself, so each is compressed by itself."""
    assert sum(len(gzip.compress(one.read_bytes())) for one in PAGE.iterdir()) <= MOST_BYTES


def test_modules_are_short() -> None:
    assert {one.name: count for one in MODULES if (count := len(one.read_text("utf-8").splitlines())) > LONGEST} == {}


def test_page_is_of_plain_files() -> None:
    """Of those that are packed and served alone: no folders, and no names but of letters."""
    assert all(one.is_file() and re.fullmatch(r"[a-z]+\.(js|css|html|svg)", one.name) for one in PAGE.iterdir())


def test_page_is_packed() -> None:
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["cli"]
    assert "serve/page/*" in packed


def test_no_script_or_style_stands_in_the_document(document: Tags) -> None:
    """The policy of the server forbids them."""
    assert document.inline == []
    for tag, attributes in document.tags:
        assert tag != "style" and "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
        assert tag != "script" or (attributes.get("src") or "").startswith("/page/")


@pytest.mark.parametrize("module", MODULES, ids=lambda one: one.name)
def test_texts_are_never_markup_or_code(module: Path) -> None:
    """Names and captions come from whoever made the pictures."""
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser"
    code = r"|\beval\(|new Function|setAttribute\(\"style\"|javascript:"
    assert re.findall(markup + code, module.read_text("utf-8")) == []


def test_nothing_is_asked_of_other_hosts() -> None:
    """The one address is the name of SVG, which nobody fetches."""
    found = {
        each
        for one in PAGE.iterdir()
        for each in re.findall(r"https?://[^\s\"'`)]+|[\"'(]//[\w.]+", one.read_text("utf-8"))
    }
    assert found == {"http://www.w3.org/2000/svg"}


def test_files_that_are_named_are_there(document: Tags) -> None:
    named = {value for _, attributes in document.tags for name in ("src", "href") if (value := attributes.get(name))}
    imported = {
        each for one in MODULES for each in re.findall(r"(?:from|import\()\s*\"\./([\w.]+)\"", one.read_text("utf-8"))
    }
    of_page = {value.removeprefix("/page/") for value in named if not value.startswith("#")} | imported
    assert {name for name in of_page if not (PAGE / name).is_file()} == set()
    assert {one.name for one in MODULES} - of_page == set(), "modules that nothing uses"


def test_names_that_are_imported_are_exported() -> None:
    for one in MODULES:
        for names, source in re.findall(r"import \{([^}]*)\} from \"\./([\w.]+)\"", one.read_text("utf-8")):
            exported = set(re.findall(r"export (?:async )?(?:function|const|class|let) (\w+)", read(source)))
            assert {name.strip() for name in names.split(",") if name.strip()} <= exported, (one.name, source)


def test_drawings_that_are_used_are_in_the_sprite() -> None:
    drawn = {attributes["id"] for tag, attributes in Tags(read("icons.svg")).tags if tag == "symbol"}
    texts = [one.read_text("utf-8") for one in MODULES]
    used = {each for text in texts for each in re.findall(r"\b(?:icon|iconButton)\(\"(\w+)\"", text)}
    assert used and used <= drawn


def test_ids_are_there_once(document: Tags) -> None:
    ids = [attributes["id"] for _, attributes in document.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_ids_that_are_spoken_of_are_there(document: Tags) -> None:
    there = made_ids()
    spoken = {(name, attributes[name]) for _, attributes in document.tags for name in SPOKEN if name in attributes}
    assert {each for each in spoken if each[1] not in there} == set()
    skipped = {value[1:] for _, attributes in document.tags if (value := attributes.get("href") or "").startswith("#")}
    assert skipped <= there


def test_ids_that_modules_look_for_are_there() -> None:
    looked = {each for one in MODULES for each in re.findall(r"byId\(\"([\w-]+)\"\)", one.read_text("utf-8"))}
    assert looked - made_ids() == set()


def test_what_can_be_used_has_a_name(document: Tags) -> None:
    """A label, an aria-label, or words inside: for those who do not see it."""
    labelled = {attributes.get("for") for tag, attributes in document.tags if tag == "label"}
    text = read("index.html")
    for tag, attributes in document.tags:
        if tag not in ("input", "select", "button"):
            continue
        inside = re.search(
            rf"<label[^>]*>[^<]*<{tag} id=\"{attributes['id']}\"|id=\"{attributes['id']}\"[^>]*>\w", text
        )
        assert "aria-label" in attributes or attributes["id"] in labelled or inside, attributes["id"]


def test_landmarks_are_there_once(document: Tags) -> None:
    tags = [tag for tag, _ in document.tags]
    assert [tags.count(tag) for tag in ("header", "nav", "main", "aside", "h1")] == [1] * 5
    assert ("html", {"lang": "en"}) in document.tags


@pytest.mark.parametrize("module", MODULES, ids=lambda one: one.name)
def test_what_modules_export_is_told(module: Path) -> None:
    """What leaves a module has a comment above it, but for constants."""
    lines = module.read_text("utf-8").splitlines()
    assert lines[0].startswith("// ")
    for at, line in enumerate(lines):
        if re.match(r"export (async )?(function|class)", line):
            assert lines[at - 1].rstrip().endswith("*/") or lines[at - 1].startswith("export "), line


# ---------------------------------------------------------------- what needs Node


node = pytest.mark.skipif(not shutil.which("node"), reason="no Node to run modules with")


Run = Callable[[str], str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """What a module says that imports the page's modules, which Node needs a package.json beside."""
    shutil.copytree(PAGE, tmp_path / "page")
    (tmp_path / "page" / "package.json").write_text('{"type": "module"}')

    def told(code: str) -> str:
        (tmp_path / "page" / "asked.js").write_text(STATE + code)
        done = subprocess.run(["node", "page/asked.js"], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return told


STATE = 'import * as state from "./state.js"; globalThis.location = { pathname: "/" };\n'


@node
def test_an_address_holds_the_whole_search(run: Run) -> None:
    """Words that look like operators, weights or items come back as the words that they are."""
    code = """
    const terms = [["words", "a dog"], ["words", "snow", -1, 2.5], ["id", "b/c.jpg", 1], ["picture", "abc", -1],
      ["words", "id:x"], ["words", "12:30"], ["words", ".5:x", 1, 3], ["words", "text:a & b=c"]]
      .map((one) => state.term(...one));
    const search = { ...state.blank(), terms, where: ["a == 'x'", "b > 2 or c"], inside: "d/e",
      like: ["b/c.jpg", "id:x"], unlike: ["d"],
      sort: "-date", fold: false, fit: true, diverse: true, index: "i", item: "j", view: "map" };
    const again = state.fromAddress(state.address(search));
    console.log(JSON.stringify(again) === JSON.stringify(search) ? "same" : JSON.stringify([again, search]));
    """
    assert run(code) == "same"


@node
def test_arguments_are_those_of_a_search(run: Run) -> None:
    code = """
    const terms = [state.term("words", "a dog", -1), state.term("id", "x.jpg", 1, 2), state.term("words", "2:1 goal")];
    console.log(JSON.stringify(state.args(terms)));
    """
    assert run(code) == '["-","a dog","+","2:id:x.jpg","+","text:2:1 goal"]'


@node
def test_signs_that_stand_alone_part_what_is_typed(run: Run) -> None:
    code = """
    const told = (text) => state.typed(text).map((one) => `${one.sign} ${one.text}`).join("; ");
    console.log(["a dog - snow + sea", "t-shirt", "- red", "a dog -", "+", ""].map(told).join("|"));
    """
    assert run(code) == "1 a dog; -1 snow; 1 sea|1 t-shirt|-1 red|1 a dog||"


@node
def test_conditions_are_joined_and_values_quoted(run: Run) -> None:
    code = """
    console.log(state.narrowed({ where: ["a or b", "c"], inside: "", index: "" }).where);
    console.log(state.field("base colour"), state.field("year"), ...["it's", 2.5, true].map(state.literal));
    """
    assert run(code).splitlines() == ["(a or b) and (c)", "`base colour` year 'it''s' 2.5 true"]


@node
def test_the_next_point_lies_in_the_direction_of_the_key(run: Run) -> None:
    """Within 45 degrees, however near others are; beyond them only where there is none; in pixels, as it is seen."""
    code = """
    import { ahead, beside } from "./ahead.js";
    const places = [[0.5, 0.5], [0.7, 0.55], [0.55, 0.9], [0.1, 0.45], [0.52, 0.7]];
    const points = places.map(([x, y], id) => ({ id, x, y }));
    const to = (from, way, box) => ahead(points, points[from], way, box)?.id ?? "none";
    console.log(["Right", "Left", "Down", "Up"].map((way) => to(0, way)).join(" "));
    console.log(to(1, "Right"), to(3, "Up"), to(1, "Down"), to(1, "Down", { wide: 1, high: 2 }));
    console.log(beside(points, { x: 0.6, y: 0.6 }).id, beside([], { x: 0, y: 0 }));
    """
    assert run(code).splitlines() == ["1 3 4 3", "none none 2 4", "1 null"]


@node
def test_pages_end_where_the_server_ends(run: Run) -> None:
    code = """
    import { Pages } from "./pages.js";
    const ends = (more) => new Pages(state.blank(), { total: 500, next: 60, hits: Array(60), ...more }, {}).length;
    console.log(ends({ deepest: 200 }), ends({ deepest: 900 }), ends({ deepest: null }));
    """
    assert run(code) == "200 500 500"


@node
def test_places_of_folded_pages(run: Run) -> None:
    """Of 130 answers the first page shows 50 and the last 10: place 50 is the first of the second page."""
    code = """
    import { Pages } from "./pages.js";
    const numbered = (from, count) => [...Array(count).keys()].map((at) => ({ id: from + at }));
    globalThis.fetch = async (address) => {
      const from = Number(new URLSearchParams(address.split("?")[1]).get("offset"));
      const answer = { hits: numbered(from, from === 120 ? 10 : 60), next: from === 120 ? null : from + 60 };
      return { ok: true, json: async () => answer };
    };
    globalThis.document = { getElementById: () => ({ replaceChildren() {} }) };
    globalThis.sessionStorage = { getItem: () => null };
    const search = { ...state.blank(), terms: [state.term("words", "x")] };
    const first = { total: 130, next: 60, hits: numbered(0, 50) };
    const pages = new Pages(search, first, { changed() {}, failed(error) { throw error; } });
    const told = [pages.length, pages.at(49).id, pages.at(50)];
    pages.want(50, 120);
    await new Promise((go) => setTimeout(go, 20));
    for (const place of [50, 110, 119, 120]) told.push(pages.at(place)?.id);
    console.log(JSON.stringify([...told, pages.length]));
    """
    assert run(code) == "[120,49,null,60,120,129,null,120]"
