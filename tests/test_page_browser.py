"""The page in a browser, end to end: a server of its own, a headless Chromium, the keyboard and the pointer."""

import json
import os
import re
import shutil
import socket
import threading
import time
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest
import uvicorn
from PIL import Image

from cli.serve import app, browsing, reply, shown, umap_plane
from cli.serve.guards import Doors
from cli.serve.parts import Parts
from cli.serve.reported import Reports
from cli.serve.shelf import Shelf, Shelves
from retrieval import Retriever
from rows import unit
from toy import ToyEncoder, picture

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
AXE_SCRIPT = pytest.importorskip("axe_playwright_python.base", reason="axe is not installed").AXE_SCRIPT
if not CHROMIUM:
    pytest.skip("no Chromium is here: the page is not driven", allow_module_level=True)


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Forty pictures between red and blue, a green one with a caption that is markup; the first has one too."""
    root = tmp_path_factory.mktemp("page") / "photos"
    for number in range(40):
        picture(root / f"{number:02d}.png", (255 - 6 * number, 0, 6 * number))
    Image.new("RGB", (64, 32), (0, 255, 0)).save(root / "green.png")
    (root / "00.txt").write_text("a red wall\n")
    (root / "green.txt").write_text("<img src=x onerror=alert(1)> a green field\n")
    Retriever.build(str(root), root / ".mmr", ToyEncoder())[0].close()
    return root


class Served:
    """A server in a thread; `address`, and `stop`."""

    def __init__(self, index, doors=Doors(), **told):  # noqa: B008
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        self.shelf = Shelf(index, "cpu", (), ToyEncoder())
        made = app.make(Parts(Shelves([self.shelf]), **told), doors)
        self._server = uvicorn.Server(uvicorn.Config(made, log_level="error", lifespan="on"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def stop(self):
        self._server.should_exit = True
        self._thread.join(20)
        self._socket.close()


def reports(folder):
    """A file of two reports: of retrieval, and of a head of forty classes that answers the next one of each."""
    from eval import classification, report
    from eval.measuring import Measured

    images = unit(np.eye(4, 8))
    measured = Measured("toy", "f1", (), (), images, images[[0, 1, 2, 0]], np.arange(4))
    names = [f"a class of number {number}" for number in range(40)]
    head = classification.head_report("single", np.roll(np.eye(40), 1, 1), names, names)
    file = folder / "eval.json"
    part = {"by": "words", "name": "1 to 5", "direction": "text_to_image", "queries": 7, "values": {"hit@1": 0.5}}
    beside = {"encoder": "b", "beside": "a", "direction": "text_to_image", "metric": "hit@1", "value": 0.1}
    lines = [
        {"slice": part | {"interval": [0.3, 0.7]}},
        {"difference": beside | {"low": 0.02, "high": 0.2}},
        {"through": {}},
    ]
    file.write_text("\n".join([report.of(measured).to_json(), head.to_json(), *map(json.dumps, lines)]))
    return file


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    made = Served(folder / ".mmr", reports=Reports([reports(tmp_path_factory.mktemp("reports"))]))
    yield made
    made.stop()


@contextmanager
def opened(browser, address, **looks):
    """A page of its own; nothing may go wrong on it."""
    context = browser.new_context(viewport={"width": 1200, "height": 800}, **looks)
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Content Security" in said.text else None)
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.set_default_timeout(15_000)
    page.goto(address)
    yield page
    context.close()
    assert not wrong


@pytest.fixture
def page(browser, server):
    with opened(browser, server.address) as made:
        yield made


def first_is(page, name):
    """Wait until the first picture is this one."""
    api.expect(page.locator("[role=gridcell]").first).to_have_attribute("aria-label", re.compile(re.escape(name)))


def ask(page, words, name):
    with page.expect_response(lambda answer: f"q={words}" in answer.url):
        page.locator("[data-test=words]").fill(words)
    page.wait_for_url(f"**q={words}**")
    page.wait_for_timeout(100)  # until what came is drawn
    first_is(page, name)


def test_it_answers_while_one_types_and_the_address_holds_the_search(page):
    ask(page, "green", "green")
    assert "q=green" in page.url
    address = page.url
    ask(page, "red", "a red wall")
    page.goto(address)
    api.expect(page.locator("[data-test=words]")).to_have_value("green")
    first_is(page, "green")


def test_words_that_are_typed_before_the_page_is_ready_are_kept(browser, server):
    with opened(browser, "about:blank") as page:
        held = []
        page.route("**/api/info", lambda route: held.append(route))
        page.goto(server.address)
        page.locator("[data-test=words]").fill("green")
        held[0].continue_()
        first_is(page, "green")
        api.expect(page.locator("[data-test=words]")).to_have_value("green")


def test_a_caption_is_text_whatever_it_says(page):
    ask(page, "green", "green")
    page.locator("[role=gridcell]").first.click()
    detail = page.locator("[data-test=detail]")
    api.expect(detail).to_be_visible()
    api.expect(detail).to_contain_text("<img src=x onerror=alert(1)> a green field")
    assert detail.locator("img[src=x]").count() == 0


def test_the_keyboard_is_enough(page):
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.dataset.test") == "words"
    ask(page, "red", "a red wall")
    second = page.locator("[role=gridcell]").nth(1).get_attribute("aria-label").split(",")[0]
    page.locator("[role=gridcell]").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    detail = page.locator("[data-test=detail]")
    api.expect(detail).to_be_visible()
    api.expect(detail).to_contain_text(second)
    page.keyboard.press("Escape")
    api.expect(detail).to_be_hidden()
    page.keyboard.press("?")
    api.expect(page.locator("[data-test=keys]")).to_be_visible()


def test_a_picture_is_a_query(page, tmp_path):
    Image.new("RGB", (20, 20), (0, 250, 0)).save(tmp_path / "mine.png")
    page.locator("[data-test=file]").set_input_files(tmp_path / "mine.png")
    first_is(page, "green")


def test_captions_that_fit_are_searches(page, folder, tmp_path):
    """Of a picture that was sent, and of one that is open: there those of others alone."""
    Image.new("RGB", (20, 20), (250, 0, 0)).save(tmp_path / "mine.png")
    page.locator("[data-test=file]").set_input_files(tmp_path / "mine.png")
    under = page.locator("#fitting [data-test=fitting] li")
    api.expect(under).to_have_text([re.compile("^a red wall"), re.compile("a green field")])
    page.locator("[role=gridcell]").first.click()
    beside = page.locator("[data-test=detail] [data-test=fitting] li")
    api.expect(beside).to_have_text([re.compile("a green field")])
    page.keyboard.press("Escape")
    under.first.locator("button").click()
    api.expect(page.locator("[data-test=words]")).to_have_value("a red wall")
    api.expect(page.locator("#fitting")).to_be_hidden()


def test_a_thumb_moves_the_query_until_other_words_are_asked_for(page, server):
    page.goto(f"{server.address}?q=red&fold=0")
    first_is(page, "a red wall")
    first = page.locator("[role=gridcell]").first
    first.hover()
    first.locator("[data-test=up]").click()
    page.wait_for_url("**like=00.png**")
    first_is(page, "01.png")  # what is judged is no answer
    api.expect(page.locator("[data-test=judged]")).to_contain_text("1 right, 0 wrong")
    first.focus()
    page.keyboard.press("d")
    page.wait_for_url("**unlike=*")
    api.expect(page.locator("[data-test=judged]")).to_contain_text("1 right, 1 wrong")
    page.reload()
    api.expect(page.locator("[data-test=judged]")).to_contain_text("1 right, 1 wrong")
    ask(page, "green", "green")
    api.expect(page.locator("[data-test=judged]")).to_have_count(0)
    page.go_back()
    page.locator("[data-test=forget]").click()
    first_is(page, "a red wall")


def test_only_a_screen_of_cells_is_there(page):
    page.set_viewport_size({"width": 500, "height": 300})
    api.expect(page.locator("[data-test=count]")).to_contain_text("41")
    assert page.locator("[role=gridcell]").count() < 41


def test_what_is_no_picture_says_so_beside_the_buttons(page):
    """The badge of clips and sounds lies over nothing that can be pressed, nor does what lies alike."""
    cell = page.locator("[role=gridcell]").first
    cell.hover()
    api.expect(cell.locator(".tools button").first).to_be_visible()
    cell.evaluate("""cell => cell.append(...["mark clip", "mark alike"].map((name) =>
        Object.assign(document.createElement("span"), { className: name, textContent: "sound" })))""")
    boxes = cell.evaluate("""cell => [...cell.querySelectorAll(".mark, button, input")].map((one) => {
        const { left, right, top, bottom } = one.getBoundingClientRect();
        return [left, right, top, bottom, one.classList.contains("mark")];
    })""")
    assert sum(box[4] for box in boxes) == 2
    for left, right, top, bottom, is_mark in boxes:
        over = [one for one in boxes if one[0] < right and left < one[1] and one[2] < bottom and top < one[3]]
        assert not is_mark or len(over) == 1, over


def test_an_index_that_is_empty_says_so(browser, tmp_path):
    from indexes import Store

    toy = ToyEncoder()
    picture(tmp_path / "photos" / "one.png")
    retriever, _ = Retriever.build(str(tmp_path / "photos"), tmp_path / "photos" / ".mmr", toy)
    retriever.close()
    with Store.open(tmp_path / "photos" / ".mmr", write=True) as store:
        store.delete(["one.png"])
    made = Served(tmp_path / "photos" / ".mmr")
    page = browser.new_page()
    page.goto(made.address)
    api.expect(page.locator("main")).to_contain_text("empty", ignore_case=True)
    page.close()
    made.stop()


def test_a_server_that_goes_away_is_said(browser, folder):
    made = Served(folder / ".mmr")
    page = browser.new_page()
    page.goto(made.address)
    page.wait_for_function("() => document.querySelectorAll('[role=gridcell]').length > 0")
    made.stop()
    page.locator("[data-test=words]").fill("blue")
    api.expect(page.locator("[data-test=notice]")).to_be_visible(timeout=20_000)
    page.close()


def test_an_index_that_cannot_be_read_now_is_asked_again_when_the_server_says(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(reply, "AGAIN", {"retry-after": "3"})  # unlike what the page would wait by itself
    picture(tmp_path / "photos" / "red.png")
    Retriever.build(str(tmp_path / "photos"), tmp_path / "photos" / ".mmr", ToyEncoder())[0].close()
    made = Served(tmp_path / "photos" / ".mmr")
    with opened(browser, made.address) as page:
        first_is(page, "red.png")
        (tmp_path / "photos" / ".mmr").rename(tmp_path / "away")
        made.shelf.look()
        page.locator("[data-test=words]").fill("red")
        api.expect(page.locator("[data-test=notice]")).to_contain_text("Trying again in 3 s.")
        (tmp_path / "away").rename(tmp_path / "photos" / ".mmr")
        api.expect(page.locator("[data-test=notice]")).to_be_empty()
        first_is(page, "red.png")
    made.stop()


def test_many_files_are_one_zip(page, folder):
    cells = page.locator("[role=gridcell]")
    ask(page, "blue", "39.png")
    for at in (0, 1):
        cells.nth(at).click(modifiers=["Control"])
    names = [shown.id_of(cells.nth(at).get_attribute("data-id")) for at in (0, 1)]
    with page.expect_download() as waiting:
        page.locator("[data-test=download]").click()
    assert waiting.value.suggested_filename == "pictures.zip"
    with zipfile.ZipFile(waiting.value.path()) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            name: (folder / name).read_bytes() for name in names
        }
    api.expect(page.locator("[data-test=notice]")).to_contain_text("A zip of 2 files")
    cells.nth(1).click(modifiers=["Control"])
    with page.expect_download() as waiting:
        page.locator("[data-test=download]").click()
    assert waiting.value.suggested_filename == names[0]


def test_a_token_is_asked_for_and_kept(browser, folder):
    made = Served(folder / ".mmr", Doors(token="open"))
    context = browser.new_context()
    page = context.new_page()
    page.goto(made.address)
    page.locator("[data-test=token]").fill("open")
    page.locator("[data-test=token-give]").click()
    page.wait_for_function("() => document.querySelectorAll('[role=gridcell] img').length > 0")
    page.reload()
    page.wait_for_function("() => document.querySelectorAll('[role=gridcell] img').length > 0")
    context.close()
    made.stop()


def test_reports_are_tables_and_a_matrix(browser, server):
    with opened(browser, server.address + "?view=training") as page:
        recalls = page.locator("[data-test=retrieval] table").first
        api.expect(recalls.locator("caption")).to_have_text("Words find their picture")
        line = recalls.get_by_role("row").filter(has_text="hit@1").first
        assert [cell.strip() for cell in line.locator("th, td").all_text_contents()][:2] == ["hit@1", "75.0 %"]
        api.expect(line.locator("td").nth(2)).to_have_text("25.0 %")  # by chance
        assert page.locator("[data-test=retrieval] table").count() == 2
        api.expect(page.locator("[data-test=slices] tbody tr")).to_have_text("1 to 5750.0 %30.0 % \u2013 70.0 %")
        api.expect(page.locator("[data-test=differences] tbody tr")).to_contain_text("b beside a")
        api.expect(page.locator("[data-test=reported]")).to_contain_text("1 more line is not drawn here")
        matrix = page.locator("[data-test=matrix]")
        assert matrix.locator("tbody tr").count() == 30
        api.expect(matrix.locator("caption")).to_contain_text("the 30 most frequent of 40 classes")
        page.locator("[data-test=all-classes]").click()
        assert matrix.locator("tbody tr").count() == 40
        first = matrix.locator("tbody tr").first.locator("td")
        assert first.all_text_contents()[:3] == ["", "1", ""]
        assert first.nth(1).get_attribute("title") == "a class of number 0: 1 of 1"
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Confusion matrix"


def test_all_but_the_best_of_each_group_are_chosen(browser, tmp_path):
    for number in range(3):
        picture(tmp_path / "photos" / f"red{number}.png", (255, number, 0))
        picture(tmp_path / "photos" / f"blue{number}.png", (number, 0, 255))
    Image.new("RGB", (16, 16), (255, 2, 0)).save(tmp_path / "photos" / "red2.png")
    picture(tmp_path / "photos" / "green.png", (0, 255, 0))
    Retriever.build(str(tmp_path / "photos"), tmp_path / "photos" / ".mmr", ToyEncoder())[0].close()
    made = Served(tmp_path / "photos" / ".mmr")
    with opened(browser, made.address) as page:
        page.locator("[data-test=tab-duplicates]").click()
        api.expect(page.locator("[data-test=groups-told]")).to_have_text(
            "2 groups: 6 pictures, 4 beside the best of each."
        )
        groups = page.locator("[data-test=group]")
        assert [groups.nth(at).locator("li").count() for at in (0, 1)] == [3, 3]
        red = groups.filter(has_text="red2.png")
        api.expect(red.locator("[data-test=copy-of]").first).to_have_attribute("aria-label", "red2.png, the best")
        page.locator("[data-test=all-others]").click()
        api.expect(page.locator("[data-test=selection]")).to_contain_text("4 selected")
        boxes = groups.first.locator("input")
        assert [boxes.nth(at).is_checked() for at in range(3)] == [False, True, True]
        boxes.nth(1).click()
        api.expect(page.locator("[data-test=selection]")).to_contain_text("3 selected")
        page.locator("[data-test=clear-selected]").click()
        assert not boxes.nth(2).is_checked()
        groups.nth(1).locator("[data-test=others]").click()
        api.expect(page.locator("[data-test=selection]")).to_contain_text("2 selected")
        groups.first.locator("[data-test=copy-of]").first.click()
        api.expect(page.locator("[data-test=detail]")).to_be_visible()
        page.keyboard.press("Escape")
        page.locator("[data-test=threshold]").fill("1")
        api.expect(page.locator("[data-test=groups-told]")).to_contain_text("No two pictures are so near")
    made.stop()


def test_the_map_is_walked_by_keys(browser, server, monkeypatch):
    monkeypatch.setattr(umap_plane, "available", lambda: True)
    monkeypatch.setattr(umap_plane, "plane", lambda vectors: np.column_stack([np.linspace(0.1, 0.9, len(vectors))] * 2))
    with opened(browser, server.address + "?view=map") as page:
        api.expect(page.locator("[data-test=cluster]").first).to_be_visible()
        with page.expect_response(lambda answer: "by=umap" in answer.url) as waiting:
            page.locator("[data-test=by]").select_option("umap")
        points = waiting.value.json()["points"]
        page.locator("[data-test=canvas]").focus()
        told = page.locator("[data-test=map-told]")
        page.keyboard.press("ArrowRight")
        api.expect(told).to_contain_text(", among: ")
        first = told.text_content().split(", among")[0]
        page.keyboard.press("ArrowRight")
        api.expect(told).not_to_contain_text(first)
        at = [point["name"] for point in points].index(told.text_content().split(", among")[0])
        assert points[at - 1]["name"] == first
        page.keyboard.press("Enter")
        page.wait_for_url(f"**q=id%3A{shown.id_of(points[at]['id'])}")


def test_too_many_to_compare_is_said(page, monkeypatch):
    monkeypatch.setattr(browsing, "MOST_ROWS", 40)
    page.locator("[data-test=tab-duplicates]").click()
    api.expect(page.locator("[data-test=groups-told]")).to_contain_text("41 pictures are too many to compare")


READY = {
    "": "[role=gridcell] .tools", "&item=Z3JlZW4ucG5n": "[data-test=fields]", "&view=map": "[data-test=cluster]",
    "&view=duplicates": "[data-test=group]", "&view=training": "[data-test=matrix]",
}  # fmt: skip
FAULTS = "axe.run().then(done => done.violations.map(one => one.id + ': ' + one.nodes.map(node => node.html).join()))"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", READY)
def test_a_screen_reader_finds_its_way_in_every_view(browser, server, view, scheme):
    """As axe-core finds, on a desk and on a phone, which must be wide enough as well."""
    with opened(browser, f"{server.address}?q=red{view}", color_scheme=scheme) as page:
        page.locator(READY[view]).first.wait_for(state="attached")
        page.evaluate(AXE_SCRIPT)
        assert page.evaluate(FAULTS) == []
        page.set_viewport_size({"width": 380, "height": 700})
        page.wait_for_timeout(100)
        assert page.evaluate("document.documentElement.scrollWidth") <= 380
        assert page.evaluate(FAULTS) == []
