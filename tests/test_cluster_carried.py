"""Items of every source reach another process, and what they show there is what they show here."""

import io
import tarfile
from dataclasses import replace

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from retrieval.cluster.carried import Held, carried
from retrieval.errors import ImageError
from retrieval.images.load import load_with_fields
from retrieval.sources.registry import open_items

cloudpickle = pytest.importorskip("ray.cloudpickle")
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def png(colour):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return file.getvalue()


def folder(at):
    for number, colour in enumerate(COLOURS):
        (at / f"{number}.png").write_bytes(png(colour))
    return str(at)


def csv(at):
    folder(at)
    (at / "pairs.csv").write_text("image,caption\n" + "".join(f"{n}.png,one\n" for n in range(3)), "utf-8")
    return str(at / "pairs.csv")


def jsonl(at):
    folder(at)
    (at / "pairs.jsonl").write_text("".join(f'{{"image": "{n}.png", "caption": "one"}}\n' for n in range(3)), "utf-8")
    return str(at / "pairs.jsonl")


def parquet(at):
    table = pyarrow.table({"image": [png(colour) for colour in COLOURS], "caption": ["one"] * 3})
    pyarrow.parquet.write_table(table, at / "pairs.parquet", row_group_size=2)
    return str(at / "pairs.parquet")


def webdataset(at, name="00000.tar"):
    with tarfile.open(at / name, "w") as tar:
        for number, colour in enumerate(COLOURS):
            info = tarfile.TarInfo(f"{number}.png")
            info.size = len(png(colour))
            tar.addfile(info, io.BytesIO(png(colour)))
    return str(at / name)


def img2dataset(at):
    webdataset(at)
    (at / "00000_stats.json").write_text("{}", "utf-8")
    return str(at)


def hugging_face(at):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    rows = {"image": [{"bytes": png(colour)} for colour in COLOURS], "caption": ["one"] * 3}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(at / "set"))
    return f"hf:{at / 'set'}"


def drawn(at):
    return "picturebook:3"


def there(items):
    """The items as a worker has them: as Staff.give sends them."""
    try:
        sent = cloudpickle.dumps(items)
    except TypeError:
        sent = cloudpickle.dumps(carried(items))
    return cloudpickle.loads(sent)


@pytest.mark.parametrize("make", [folder, csv, jsonl, parquet, webdataset, img2dataset, hugging_face, drawn])
def test_items_show_there_what_they_show_here(make, tmp_path):
    items = list(open_items(make(tmp_path)))
    assert len(items) == 3
    for here, came in zip(items, there(items), strict=True):
        assert (came.id, came.uri, came.stamp, came.captions) == (here.id, here.uri, here.stamp, here.captions)
        assert np.array_equal(np.asarray(load_with_fields(came)[0]), np.asarray(load_with_fields(here)[0]))


@pytest.mark.parametrize("make", [parquet, hugging_face])
def test_what_is_read_in_turn_is_read_here(make, tmp_path):
    items = list(open_items(make(tmp_path)))
    with pytest.raises(TypeError, match="the process that opened it"):
        cloudpickle.dumps(items)
    assert [came.content() for came in there(items)] == [png(colour) for colour in COLOURS]


def test_what_cannot_be_read_here_says_so_there(tmp_path):
    def gone():
        raise ImageError("its cell is empty")

    item = next(open_items(folder(tmp_path)))
    (came,) = cloudpickle.loads(cloudpickle.dumps(carried([replace(item, content=gone)])))
    assert isinstance(came.content, Held)
    with pytest.raises(ImageError, match="its cell is empty"):
        came.content()
