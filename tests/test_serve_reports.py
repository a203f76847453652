"""Reports of evaluations as the server gives them: read with limits, read anew, and one line for what is none."""

import json
import os

import numpy as np
import pytest
from starlette.testclient import TestClient

from cli.serve import app, reported
from cli.serve.guards import Doors
from cli.serve.parts import Parts
from cli.serve.reported import Reports
from cli.serve.shelf import Shelf, Shelves
from eval import classification, report
from eval.measuring import Measured
from retrieval import Retriever
from retrieval.errors import BadRequest
from rows import unit
from terminal import fails, mmr
from toy import ToyEncoder

HEAD = {"examples": 1, "classes": 1, "interval": [0, 1]}
TWO = {"labels": ["a", "b"], "confusion": [[3, 1], [0, 2]]}


def of_retrieval():
    """Four pictures, and words that find all of them but one."""
    images = unit(np.eye(4, 8))
    return report.of(Measured("toy", "f1", (), (), images, images[[0, 1, 2, 0]], np.arange(4)))


def of_head(classes=2):
    """Every class once, answered by the one after it."""
    names = [f"c{number:03}" for number in range(classes)]
    return classification.head_report("single", np.roll(np.eye(classes), 1, 1), names, names)


def test_a_head_writes_its_matrix():
    labels = ["cat", "cat", "dog"]
    told = json.loads(
        classification.head_report("single", np.array([[1, 0], [0, 1], [0, 1]]), labels, ["cat", "dog"]).to_json()
    )
    assert (told["labels"], told["confusion"]) == (["cat", "dog"], [[1, 1], [0, 1]])
    assert "confusion_without" not in told
    many = json.loads(of_head(203).to_json())
    assert (len(many["labels"]), len(many["confusion"]), many["confusion_without"]) == (200, 200, 3)
    assert many["confusion"][0][:3] == [0, 1, 0]
    several = classification.head_report("multiple", np.eye(2), [{"a"}, {"b"}], ["a", "b"])
    assert not {"labels", "confusion"} & set(json.loads(several.to_json()))


def test_figures_that_cannot_be_had_are_null_and_served():
    """Numbers that are all equal have no R2, and no interval of it."""
    line = classification.head_report("number", np.ones((3, 1)), [1.0, 1.0, 1.0], []).to_json()
    assert json.loads(line, parse_constant=pytest.fail)["interval"] == [None, None]
    assert reported._told(json.loads(line))["figures"]["r2"] is None


def test_what_evaluations_print_is_what_is_told(tmp_path):
    file = tmp_path / "both.json"
    file.write_text(of_retrieval().to_json() + "\n\n" + of_head(3).to_json() + "\n")
    found, head = reported.read(file)
    assert (found["kind"], found["items"], found["text_to_image"]["hit@1"]) == ("retrieval", 4, 0.75)
    assert found["chance"]["text_to_image"]["hit@1"] == 0.25
    assert len(found["intervals"]["image_to_text"]["recall@5"]) == 2
    assert (head["kind"], head["figures"]["accuracy"], list(head["figures"])) == (
        "head",
        0.0,
        ["accuracy", "macro_f1", "ece"],
    )
    assert (head["labels"], head["confusion"]) == (["c000", "c001", "c002"], [[0, 1, 0], [0, 0, 1], [1, 0, 0]])


def test_what_stands_beside_reports_is_told_too(tmp_path):
    """Differences of encoders and slices; other lines are counted, not refused."""
    difference = {
        "encoder": "b", "beside": "a", "direction": "text_to_image", "metric": "hit@1", "value": 0.1, "low": 0.02,
        "high": 0.2, "mcnemar": 0.01,
    }  # fmt: skip
    part = {
        "by": "words", "name": "1 to 5", "direction": "text_to_image", "queries": 7, "values": {"hit@1": 0.5},
        "interval": [0.3, 0.7],
    }  # fmt: skip
    lines = [{"difference": difference}, {"slice": part, "encoder": "a"}, {"through": {}}, {"robustness": []}]
    file = tmp_path / "eval.json"
    file.write_text("\n".join(map(json.dumps, lines)))
    told = [{**one, "interval": list(one["interval"])} if "interval" in one else one for one in reported.read(file)]
    assert told == [
        {"kind": "difference", **difference}, {"kind": "slice", **part, "encoder": "a"}, {"kind": "other"},
        {"kind": "other"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"{}\n" * 1001, "over 1000 lines"),
        (b"no json", "line 1, is no report (no JSON"),
        (b"[]", "line 1, is no report"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 100_000, "line 1, is no report"),
        (json.dumps(HEAD).encode() + b"\n{}", "line 2, is no report"),
        (json.dumps(HEAD | {"examples": -1}).encode(), "examples"),
        (json.dumps(HEAD | {"interval": [0, 1e300]}).encode(), "interval"),
        (b'{"examples": 1, "classes": 1, "interval": [0, NaN]}', "NaN is no number"),
        (json.dumps(HEAD | TWO | {"labels": ["a"]}).encode(), "not a row and a column for each label"),
        (json.dumps(HEAD | TWO | {"confusion": [[1], [2]]}).encode(), "not a row and a column for each label"),
        (json.dumps(HEAD | {"labels": ["x"] * 201}).encode(), "labels"),
        (json.dumps(HEAD | {"accuracy": "good"}).encode(), "Expected float"),
        (b'{"text_to_image": {"recall@1": 1}, "image_to_text": []}', "image_to_text"),
    ],
)
def test_what_is_no_report_is_a_line_before_the_server_begins(tmp_path, content, said):
    file = tmp_path / "eval.json"
    file.write_bytes(content)
    with pytest.raises(BadRequest) as raised:
        Reports([file]).check()
    line = str(raised.value)
    assert said in line.replace("`", "")
    assert "\n" not in line and line.endswith(f"`mmr eval ... --json > {file}`, or `mmr head eval ... --json`")


def test_a_file_that_is_none_is_refused_by_the_command(indexed, tmp_path):
    fails(
        mmr("serve", indexed, "--port", 0, "--report", tmp_path / "none.json"), 2, "is no file", "head eval ... --json`"
    )
    fails(mmr("serve", indexed, "--port", 0, "--report", tmp_path), 2, "is no file", "head eval ... --json`")


def test_names_are_each_once_and_a_runs_own_reports_are_among_them(tmp_path):
    run = tmp_path / "mine"
    for folder in (tmp_path / "a", tmp_path / "b", run):
        folder.mkdir()
        (folder / "eval.json").write_text(of_retrieval().to_json())
    (run / "config.json").write_text("{}")
    reports = Reports([tmp_path / "a" / "eval.json", tmp_path / "b" / "eval.json"], {"mine": run})
    assert list(reports.files()) == ["eval", "eval-2", "mine eval"]
    (run / "report.test.json").write_text("{")
    assert list(reports.files())[-1] == "mine report.test"
    reports.check()  # of those alone that were named
    assert [one["kinds"] for one in reports.listed()] == [["retrieval"]] * 3 + [[]]
    assert "is no report" in reports.listed()[-1]["problem"]


@pytest.fixture
def client(photos, tmp_path):
    Retriever.build(str(photos), photos / ".mmr", ToyEncoder())[0].close()
    file = tmp_path / "eval.json"
    file.write_text(of_retrieval().to_json())
    parts = Parts(Shelves([Shelf(photos / ".mmr", "cpu", (), ToyEncoder())]), reports=Reports([file]))
    with TestClient(app.make(parts, Doors()), "http://127.0.0.1:8750", raise_server_exceptions=False) as made:
        made.file = file
        yield made


def test_a_report_is_told_as_its_file_is_now(client):
    assert client.get("/api/info").json()["reports"] == ["eval"]
    listed = {"name": "eval", "kinds": ["retrieval"], "problem": None}
    assert client.get("/api/reports").json() == {"reports": [listed]}
    assert client.get("/api/reports/eval").json()["reports"][0]["items"] == 4
    client.file.write_text(of_head().to_json())
    os.utime(client.file, (1, 1))
    assert client.get("/api/reports/eval").json()["reports"][0]["kind"] == "head"
    client.file.write_text("{")
    broken = client.get("/api/reports/eval")
    assert (broken.status_code, "line 1, is no report" in broken.json()["error"]) == (400, True)
    client.file.unlink()
    assert "is no file" in client.get("/api/reports").json()["reports"][0]["problem"]
    assert client.get("/api/reports/other").status_code == 400
