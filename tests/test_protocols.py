"""Protocols by name: counts, folds and published figures, by hand."""

import numpy as np
import pytest

from eval import protocols
from eval.measuring import Measured
from eval.published import HITS
from eval.report import Report
from retrieval.errors import BadRequest


def counted(pictures, captions):
    """Of so many, five of each in turn; vectors are not looked at."""
    owner = np.arange(captions) % pictures
    return Measured("e", "f", (), (), np.zeros((pictures, 1), np.float32), np.zeros((captions, 1), np.float32), owner)


@pytest.mark.parametrize(
    ("name", "pictures", "captions", "lines"),
    [
        ("flickr8k", 1000, 5000, []),
        ("flickr30k", 1000, 5000, []),
        ("coco-5k", 5000, 25_010, []),
        ("coco-1k", 5000, 25_010, []),
        ("coco-5k", 5000, 25_000, ["25,000 captions: five of each, as code after VSE takes them; CLIP_benchmark has "
                                   "25,010, at most .05 points apart"]),
        ("flickr8k", 999, 4990, ["flickr8k has 1,000 pictures (the test split of Flickr8k), and here are 999",
                                 "flickr8k has 5,000 captions, and here are 4,990",
                                 "5 of the pictures have fewer than five captions"]),
    ],
)  # fmt: skip
def test_counts_that_differ_are_told(name, pictures, captions, lines):
    assert protocols.check(name, counted(pictures, captions)) == lines


def test_a_protocol_that_is_none():
    with pytest.raises(BadRequest, match="no protocol `coco`: use flickr8k, flickr30k, coco-5k, coco-1k"):
        protocols.check("coco", counted(1, 1))


def test_folds_are_the_mean_of_five_parts(monkeypatch):
    """Parts of two pictures: in each the captions find theirs, but in the last both ask for the first."""
    monkeypatch.setattr(protocols, "FOLD", 2)
    images = np.tile(np.eye(2, dtype=np.float32), (6, 1))  # the last two are beyond the five parts
    texts = images.copy()
    texts[9] = [1, 0.5]
    found = protocols.folds(Measured("e", "f", (), (), images, texts, np.arange(12)))
    assert found["text_to_image"]["hit@1"] == pytest.approx((4 + 1 / 2) / 5)
    # Of the last part: picture 1 likes caption 1 (0.5) better than caption 0 (0), picture 0 ties with both, so loses.
    assert found["image_to_text"]["hit@1"] == pytest.approx((4 + 1 / 2) / 5)
    assert found["text_to_image"]["mean_rank"] == pytest.approx((4 + 3 / 2) / 5)


def test_too_few_for_folds():
    with pytest.raises(BadRequest, match="five times 1,000 pictures, and here are 999: give the 5,000"):
        protocols.folds(counted(999, 4995))


def test_published_figures_are_fractions_of_places_that_grow():
    for name in protocols.PROTOCOLS:
        rows = protocols.published(name)
        assert rows and len({(row.encoder, row.source) for row in rows}) == len(rows)
        for row in rows:
            assert row.source and (row.text_to_image or row.image_to_text)
            for way in (row.text_to_image, row.image_to_text):
                shares = [way[hit] for hit in HITS if hit in way]
                assert shares == sorted(shares) and all(0 < share < 1 for share in shares), row
    (row,) = [row for row in protocols.published("coco-5k") if row.encoder == "MobileCLIP2-S0"]
    assert row.text_to_image == pytest.approx({"hit@1": 0.437, "hit@5": 0.7, "hit@10": 0.794})
    assert row.image_to_text == pytest.approx({"hit@1": 0.627, "hit@5": 0.839, "hit@10": 0.909})


def test_the_table_has_ours_at_its_place():
    figures = {"hit@1": 0.15, "hit@5": 0.4, "hit@10": 0.525}
    report = Report(figures, figures, 5000, 1000, "runs/mine", "f")
    rows = protocols.table("flickr8k", [report]).rows
    assert [row[0].split(",")[0] for row in rows] == ["VSE", "> runs/mine", "VSE", "VSE"]
    assert rows[1] == ["> runs/mine", "15.0", "40.0", "52.5", "15.0", "40.0", "52.5", "here"]
    assert rows[0][1:4] == ["16.9", "41.8", "54.4"] and rows[0][-1] == "linxd5/VSE_Pytorch README"
    other = {way: dict.fromkeys(figures, 0.5) for way in ("text_to_image", "image_to_text")}
    assert [row[0] for row in protocols.table("flickr8k", [report, report], [other, other]).rows[:2]] == [
        "> runs/mine"
    ] * 2
