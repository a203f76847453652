"""A file that crashes, hangs or eats memory costs that file: the next one is decoded."""

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval.errors import ImageError
from retrieval.images import guard, load


def tiff(colour="red", size=(8, 6)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "TIFF")
    return buffer.getvalue()


@pytest.fixture
def fresh():
    """No worker from before, none left behind."""
    guard.end_all()
    yield
    guard.end_all()


def test_the_other_process_gives_the_same_pixels(tmp_path):
    pixels = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    path = tmp_path / "bytes \udcff é.tif"  # a name that is no text
    Image.fromarray(pixels).save(path)
    for content in (path, path.read_bytes()):
        assert np.array_equal(np.asarray(load.decode(content)), pixels)


def test_threads_get_each_their_own_picture(fresh):
    colours = [(n, 255 - n, n // 2) for n in range(40)]
    with ThreadPoolExecutor(6) as pool:
        got = list(pool.map(lambda colour: load.decode(tiff(colour)).getpixel((0, 0)), colours))
    assert got == colours
    assert 1 <= len(guard.decoders.idle) <= guard.WORKERS


def test_a_decoder_that_crashes_costs_one_file(fresh, monkeypatch):
    load.decode(tiff())
    real = guard.Worker.send

    def dies(self, *args):
        self.process.kill()
        self.process.wait()
        return real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(guard.Worker, "send", dies)
        with pytest.raises(ImageError, match="crashes its decoder"):
            load.decode(tiff())
    assert guard.decoders.idle == []
    assert load.decode(tiff("blue")).getpixel((0, 0)) == (0, 0, 255)


def test_a_decoder_that_hangs_is_stopped(fresh, monkeypatch):
    monkeypatch.setattr(guard, "SECONDS", 0.5)
    monkeypatch.setattr(guard.Worker, "send", lambda *args: None)  # the worker waits, as one that hangs would
    start = time.monotonic()
    with pytest.raises(ImageError, match="took longer than 0.5 s"):
        load.decode(tiff())
    assert time.monotonic() - start < 10


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit on memory is Linux's")
def test_memory_is_limited(fresh):
    """Under the limit on pixels, a small file, and over 1 GB as grey with alpha, colours and their canvas."""
    buffer = io.BytesIO()
    Image.new("LA", (10_000, 7_900)).save(buffer, "TIFF", compression="tiff_deflate")
    with pytest.raises(ImageError, match="^too large for memory$"):
        load.decode(buffer.getvalue())
    assert load.decode(tiff()).size == (8, 6)


def test_workers_end_with_their_process(fresh):
    load.decode(tiff())
    worker = guard.decoders.idle[0].process
    worker.stdin.close()
    assert worker.wait(10) == 0


def test_no_thread_is_left_behind(fresh):
    load.decode(tiff())
    before = threading.active_count()
    for _ in range(5):
        load.decode(tiff())
    patience = time.monotonic() + 10  # one that was told to end may still be at it
    while threading.active_count() > before and time.monotonic() < patience:
        time.sleep(0.01)
    assert threading.active_count() <= before
