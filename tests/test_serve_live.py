"""`mmr serve` as a process: it says where it is, serves, stops at a signal, and says what is wrong before it begins."""

import functools
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest

from cli.commands import serving as serving_command
from live import ROOT, got, serving
from terminal import fails, mmr

PEER = ROOT / ".venv-peers" / "clip-retrieval" / "bin" / "python"
FRONT = next(PEER.parents[1].glob("lib/python3*/site-packages/front/build/index.html"), None)
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


def test_it_answers_and_ends_at_a_signal(indexed, tmp_path):
    report = tmp_path / "eval.json"
    report.write_text('{"examples": 1, "classes": 0, "interval": [0, 1], "accuracy": 1}')
    with serving(indexed, "--report", report) as (address, process):
        assert got(f"{address}api/reports")[1]["reports"] == [{"name": "eval", "kinds": ["head"], "problem": None}]
        status, said = got(f"{address}api/search?q=a+dog&k=1")
        assert (status, len(said["hits"])) == (200, 1)
        assert got(f"{address}api/nothing")[0] == 404
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stdout.read() == ""


def test_an_index_that_goes_away_and_comes_back_needs_no_restart(indexed, tmp_path):
    index = shutil.copytree(indexed, tmp_path / "photos.mmr")
    with serving(index) as (address, process):

        def becomes(status):
            for _ in range(200):
                if got(f"{address}readyz")[0] == status:
                    return got(f"{address}api/search?q=a+dog&k=1")
                time.sleep(0.05)
            raise AssertionError(got(f"{address}readyz"))

        before = becomes(200)
        index.rename(tmp_path / "away")
        status, said = becomes(503)
        assert (status, said["error"]) == (503, f"no index at {index}: have it made with `mmr index FOLDER`")
        assert got(f"{address}healthz")[0] == 200
        (tmp_path / "away").rename(index)
        after = becomes(200)
        assert [one["hits"] for _, one in (before, after)] == [before[1]["hits"]] * 2
        assert process.poll() is None


def test_elsewhere_than_here_only_with_a_token(indexed):
    fails(mmr("serve", indexed, "--host", "0.0.0.0"), 2, "is reached by others", "as MMR_TOKEN=... mmr serve ...")
    with serving(indexed, "--host", "0.0.0.0", MMR_TOKEN="open sesame") as (address, _):
        here = address.replace("0.0.0.0", "127.0.0.1")
        assert got(f"{here}api/info")[0] == 401
        status, said = got(f"{here}api/info", Authorization="Bearer open sesame")
        assert (status, said["local"], said["indexes"][0]["root"]) == (200, False, None)


def test_answers_are_sent_without_delay():
    """asyncio turns Nagle's algorithm off only for sockets whose protocol is TCP by name."""
    with serving_command.listen("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


def test_what_cannot_be_served_is_a_line(indexed, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        fails(mmr("serve", indexed, "--port", port), 2, f"port {port} is in use", "--port 0 for any that is free")
    fails(mmr("serve", indexed, "--port", 0, "--run", tmp_path), 2, "is no run", "`mmr train --out` names")
    fails(mmr("serve", tmp_path / "none", "--port", 0), 3, "none", "mmr index")
    fails(
        mmr("serve", indexed, "--host", "no.such.host.invalid", "--token", "x"),
        2,
        "is no address",
        "leave it out for 127.0.0.1",
    )


@pytest.mark.skipif(not PEER.exists(), reason="clip-retrieval is not installed beside: make bench")
def test_clip_retrievals_own_client_is_answered(indexed, book):
    code = (
        "import sys, json; from clip_retrieval.clip_client import ClipClient, Modality\n"
        "client = ClipClient(url=sys.argv[1] + 'knn-service', indice_name=sys.argv[2], modality=Modality.IMAGE,\n"
        "                    num_images=3, deduplicate=False)\n"
        "print(json.dumps(client.query(text='a dog')))"
    )
    with serving(indexed, "--root", book) as (address, _):
        name = got(f"{address}api/info")[1]["indexes"][0]["name"]
        done = subprocess.run(
            [PEER, "-c", code, address, name], capture_output=True, encoding="utf-8", check=True, timeout=120
        )
    found = json.loads(done.stdout)
    assert len(found) == 3
    assert all(one["similarity"] and one["image"] for one in found)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files of a folder; nothing is said of it."""

    def log_message(self, *given):
        pass


@contextmanager
def another_site(folder):
    """The origin of a site that hands out a folder."""
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_address[1]}"
    made.shutdown()
    made.server_close()


SHOWN = """() => {
  const front = document.querySelector('clip-front');
  const shown = [...front.shadowRoot.querySelectorAll('img.pic')].filter(one => one.complete && one.naturalWidth > 0);
  return {pictures: shown.length, found: front.images ? front.images.length : 0,
          first: front.images && front.images.length ? front.images[0] : null};
}"""


@pytest.mark.skipif(not FRONT, reason="clip-retrieval's page is not installed beside: make bench")
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium is here: the page is not driven")
def test_clip_retrievals_own_page_is_answered(indexed, book):
    """Its files as they are, opened from a site of their own, which has to be named."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with (
        another_site(FRONT.parent) as site, serving(indexed, "--root", book, "--allow-origin", site) as (address, _),
        api.sync_playwright() as driver,
    ):  # fmt: skip
        page = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]).new_page()
        page.goto(f"{site}/?back={address}&index=photos")  # with the slash that its own server gives it

        def shown(pictures):
            page.wait_for_function(f"() => ({SHOWN})().pictures >= {pictures}", timeout=20_000)
            return page.evaluate(SHOWN)

        page.wait_for_selector("#searchBar")
        assert page.locator("select").first.locator("option").all_inner_texts() == ["photos"]
        page.get_by_label("Hide (near) duplicate images").click()
        page.fill("#searchBar", "a dog")
        page.press("#searchBar", "Enter")
        said = shown(40)
        assert (said["found"], said["pictures"]) == (60, 40)
        page.evaluate("() => window.scrollTo(0, document.body.scrollHeight)")  # the others' /metadata
        assert shown(60)["pictures"] == 60
        page.set_input_files("#filechooser", book / "007.png")
        page.wait_for_function(f"() => (({SHOWN})().first || {{}}).image_path === '007.png'", timeout=20_000)
        assert shown(1)["first"]["similarity"] == pytest.approx(1, abs=0.01)
        figure = page.locator("figure").nth(3)
        figure.hover()
        other = page.evaluate("() => document.querySelector('clip-front').images[3].image_path")
        figure.locator(".subImageSearch").click()  # "search by image" beneath an answer
        page.wait_for_function(f"() => ({SHOWN})().first.image_path === '{other}'", timeout=20_000)
        page.context.browser.close()


@pytest.mark.skipif(not FRONT or not CHROMIUM, reason="clip-retrieval's page or Chromium is not here")
def test_a_page_of_a_site_that_is_not_named_gets_nothing(indexed):
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with (
        another_site(FRONT.parent) as site, serving(indexed) as (address, _), api.sync_playwright() as driver,
    ):  # fmt: skip
        page = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]).new_page()
        page.goto(f"{site}/")
        ask = f"""() => fetch('{address}knn-service', {{method: 'POST', body: '{{"text": "a dog"}}'}}).then(
            answer => answer.text(), error => 'refused')"""
        assert page.evaluate(ask) == "refused"
        page.context.browser.close()
