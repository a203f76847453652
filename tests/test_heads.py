"""Heads as a whole: labelled rows, masks, skewed labels, the folder, the figures, and the command line."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import f1_score

from eval import classification, fusion
from indexes import Store
from retrieval.errors import BadRequest, MissingModel
from retrieval.heads import balance, examples, inputs, zero_shot
from retrieval.heads.config import HeadConfig
from retrieval.heads.fit import fit, temperature
from retrieval.heads.head import load_head
from retrieval.heads.inputs import Inputs
from retrieval.heads.prepare import prepare, remarks, train_head
from terminal import lines, mmr
from toy import ToyEncoder

FAST = HeadConfig(width=16, epochs=15, lr=2e-2, dropout=0.0, refit=False)
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def table(folder, rows, name="rows.csv", columns=("image", "caption", "label")):
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return str(folder / name)


@pytest.fixture
def coloured(tmp_path):
    """30 pictures of three colours, with a caption and a label each."""
    rows = []
    for number in range(30):
        colour = list(COLOURS)[number % 3]
        shade = tuple(max(0, part - 3 * number) for part in COLOURS[colour])
        Image.new("RGB", (8, 8), shade).save(tmp_path / f"{number}.png")
        rows.append([f"{number}.png", f"a {colour} one", colour])
    return tmp_path, rows


# ---------------------------------------------------------------- rows and splits


def test_real_tables_are_read_as_they_are(coloured):
    folder, rows = coloured
    rows[0][2], rows[1][1], rows[2] = "", "  ", ["missing.png", "", "red"]
    prepared = prepare(table(folder, rows), "label", "single", ToyEncoder())
    assert len(prepared) == 28  # one has no label, one has nothing at all
    said = "\n".join(remarks(prepared))
    assert "1 rows have no label: left out" in said
    assert "1 rows have neither" in said
    assert "1 of 28 rows have no text: masked" in said
    assert [uri for uri, _ in prepared.inputs.skipped] == ["missing.png"]


def test_labels_that_tell_nothing_apart_are_refused_before_any_encoding(coloured):
    folder, rows = coloured
    toy = ToyEncoder()
    same = table(folder, [[*row[:2], "x"] for row in rows])
    with pytest.raises(BadRequest, match="nothing to tell apart"):
        prepare(same, "label", "single", toy, learn=True)
    text = table(folder, [[*row[:2], f"sentence {row[0]}"] for row in rows])
    with pytest.raises(BadRequest, match="that is text, no class"):
        prepare(text, "label", "single", toy, learn=True)
    with pytest.raises(BadRequest, match="did you mean `label`"):
        prepare(text, "labl", "single", toy)
    with pytest.raises(BadRequest, match="is no number"):
        prepare(text, "label", "number", toy)
    assert toy.images_seen == 0


def test_splits_are_stratified_seeded_and_keep_what_is_rare():
    labels = ["a"] * 50 + ["b"] * 20 + ["rare"]
    learn, held = examples.split(labels, 0.2, 0)
    assert sorted([*learn, *held]) == list(range(71))
    assert [sum(labels[i] == name for i in held) for name in ("a", "b", "rare")] == [10, 4, 0]
    again, other = examples.split(labels, 0.2, 0)[1], examples.split(labels, 0.2, 1)[1]
    assert held.tolist() == again.tolist() != other.tolist()


def test_own_vectors_must_fit(tmp_path):
    file = tmp_path / "v.npy"
    for rows, message in (
        (np.full((3, 2), np.nan), "NaN"), (np.ones((2, 2)), "2 rows"), (np.ones(3), "write floats"),
    ):  # fmt: skip
        np.save(file, rows)
        with pytest.raises(BadRequest, match=message):
            inputs.read_vectors("sound", file, 3)
    file.write_bytes(b"no numbers")
    with pytest.raises(BadRequest, match="check --vectors"):
        inputs.read_vectors("sound", file, 3)


# ---------------------------------------------------------------- skewed labels, several labels, numbers


def test_class_weights_and_focal_loss_are_what_they_say():
    target = torch.tensor([0, 0, 0, 1])
    weights = balance.class_weights(target, 3)
    assert weights.tolist() == pytest.approx([2 / 3, 2.0, 0.0])
    assert float(weights[target].mean()) == pytest.approx(1.0)
    logits = torch.randn(4, 3)
    plain = torch.nn.functional.cross_entropy(logits, target)
    assert float(balance.focal_loss(logits, target, 0.0)) == pytest.approx(float(plain), rel=1e-5)
    sure = torch.tensor([[4.0, 0.0, 0.0]])
    ratio = balance.focal_loss(sure, target[:1], 2.0) / torch.nn.functional.cross_entropy(sure, target[:1])
    assert float(ratio) == pytest.approx((1 - float(sure.softmax(1)[0, 0])) ** 2, rel=1e-4)


def skewed(rows, seed):
    rng = np.random.default_rng(seed)
    rare = rng.random(rows) < 0.06
    vectors = rng.normal(0, 1, (rows, 4)) + 1.3 * rare[:, None] * np.array([1, 0, 0, 0])
    return Inputs({"image": vectors.astype(np.float32)}, {"image": np.ones(rows, bool)}), np.where(
        rare, "rare", "usual"
    )


@pytest.mark.parametrize("setting", [{"balance": "weights"}, {"balance": "sampling"}])
def test_what_is_rare_is_found_more_often(setting):
    made, labels = skewed(600, 0)
    test, truth = skewed(2000, 1)
    recall = {}
    for name, extra in (("plain", {}), ("balanced", setting)):
        config = dataclasses.replace(FAST, fusion="image", epochs=8, **extra)
        module = fit(made, labels.tolist(), ["rare", "usual"], "single", config).module
        with torch.no_grad():
            vectors = {"image": torch.from_numpy(test.vectors["image"])}
            said = module(vectors, {"image": torch.ones(2000, dtype=torch.bool)}).argmax(1).numpy() == 0
        recall[name] = said[truth == "rare"].mean()
    assert recall["balanced"] >= recall["plain"] + 0.2


def test_several_labels_and_numbers(coloured):
    folder, rows = coloured
    toy = ToyEncoder()
    for row in rows:
        row[2] = {"red": "warm|red", "green": "green", "blue": "cold|blue"}[row[2]]
    prepared = prepare(table(folder, rows), "label", "multiple", toy)
    head, _ = train_head(prepared, toy, FAST)
    report = classification.evaluate_head(head, prepared)
    assert report.figures["accuracy"] == 1.0
    assert head.labels(prepared.inputs)[0][0] == "red|warm"

    for row in rows:
        row[2] = {"green": "10", "warm|red": "20", "cold|blue": "30"}[row[2]]
    prepared = prepare(table(folder, rows), "label", "number", toy)
    head, _ = train_head(prepared, toy, FAST)
    report = classification.evaluate_head(head, prepared)
    assert report.figures["r2"] > 0.9
    assert head.answers(prepared.inputs)[0][0][1] == pytest.approx(20, abs=3)
    assert "r2" in json.loads(report.to_json())


# ---------------------------------------------------------------- figures


def test_figures_are_scikit_learns_and_an_unseen_label_is_wrong():
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(3), 200)
    scores = np.hstack([scores, np.zeros((200, 1))])
    names, labels = ["a", "b", "c", "never"], rng.choice(["a", "b", "c", "new"], 200).tolist()
    report = classification.head_report("single", scores, labels, names)
    answers = [names[i] for i in scores.argmax(1)]
    assert report.figures["macro_f1"] == pytest.approx(f1_score(labels, answers, average="macro"))
    assert report.figures["accuracy"] == np.mean([x == y for x, y in zip(answers, labels, strict=True)])
    assert report.unseen == labels.count("new")
    assert report.classes == ["a", "b", "c", "new"]
    assert report.confusion.sum() == 200
    assert report.per_class["new"]["recall"] == 0.0
    low, high = report.interval
    assert low < report.figures["accuracy"] < high
    assert list(json.loads(report.to_json()))[:6] == ["accuracy", "macro_f1", "examples", "classes", "per_class", "ece"]


def test_calibration_by_hand():
    assert classification.ece(np.array([0.9, 0.9, 0.5, 0.5]), np.array([1, 1, 1, 0])) == pytest.approx(0.05)
    assert classification.ece(np.array([1.0]), np.array([0])) == pytest.approx(1.0)


def test_the_temperature_brings_surety_to_what_is_right():
    target = torch.arange(1000) % 2
    right = torch.arange(1000) % 10 != 0  # nine of ten
    said = torch.where(right, target, 1 - target)
    logits = 20.0 * torch.nn.functional.one_hot(said, 2).float()
    sure = (logits / temperature(logits, target)).softmax(1).amax(1)
    assert float(sure.mean()) == pytest.approx(0.9, abs=0.2)


def test_compare_measures_each_on_the_same_rows(coloured):
    folder, rows = coloured
    toy = ToyEncoder()
    prepared = prepare(table(folder, rows), "label", "single", toy)
    result = fusion.compare(prepared, None, toy, ["image", "text", "concat"], FAST, 2)
    assert [line.name for line in result.lines if line.alone] == ["image", "text"]
    assert result.examples == 6
    assert [line.figure for line in result.lines] == [1.0, 1.0, 1.0]
    assert result.lines[2].gain == 0.0
    assert len(result.to_json().splitlines()) == 3


# ---------------------------------------------------------------- the folder


@pytest.fixture
def fitted(coloured):
    folder, rows = coloured
    toy = ToyEncoder()
    prepared = prepare(table(folder, rows), "label", "single", toy)
    return train_head(prepared, toy, FAST)[0], prepared, folder


@pytest.mark.parametrize("kind", [{"fusion": "graph"}, {"head": "knn"}, {"head": "tip", "fusion": "mean"}])
def test_a_head_comes_back_as_it_was(fitted, kind):
    _, prepared, folder = fitted
    head, _ = train_head(prepared, ToyEncoder(), dataclasses.replace(FAST, **kind))
    head.save(folder / "head")
    again = load_head(folder / "head")
    assert np.array_equal(again.scores(prepared.inputs), head.scores(prepared.inputs))
    assert (again.names, again.column, again.fingerprint) == (["blue", "green", "red"], "label", "toy-fingerprint")


def test_an_existing_head_asks_for_force_and_other_things_are_left_alone(fitted):
    head, _, folder = fitted
    head.save(folder / "head")
    with pytest.raises(BadRequest, match="--force"):
        head.save(folder / "head")
    head.save(folder / "head", force=True)
    with pytest.raises(BadRequest, match="holds other things"):
        head.save(folder, force=True)


def test_a_head_refuses_another_encoder_and_a_damaged_folder(fitted):
    head, _, folder = fitted
    with pytest.raises(MissingModel, match="use that one"):
        head.require("another", "runs/other")
    head.save(folder / "head")
    (folder / "head" / "head.safetensors").write_bytes(b"nothing")
    with pytest.raises(MissingModel, match="is damaged"):
        load_head(folder / "head")
    (folder / "head" / "head.json").unlink()
    with pytest.raises(MissingModel, match="holds no head"):
        load_head(folder / "head")


def test_a_row_with_nothing_is_refused(fitted):
    head, prepared, _ = fitted
    present = {name: np.zeros_like(mask) for name, mask in prepared.inputs.present.items()}
    with pytest.raises(BadRequest, match="nothing to go by"):
        head.scores(Inputs(prepared.inputs.vectors, present))


def test_zero_shot_classes_by_the_toys_words():
    toy = ToyEncoder()
    picture = toy.encode_images([np.full((8, 8, 3), (0, 255, 0), np.uint8)])
    shares = zero_shot.classify(picture, zero_shot.class_vectors(toy, ["red", "green"]))[0]
    assert shares.sum() == pytest.approx(1)
    assert shares[1] > 0.99


# ---------------------------------------------------------------- the command line


def test_train_eval_predict_label_as_a_person_does(trained, book, tmp_path):
    rows = list(csv.DictReader((book / "pairs.csv").open()))
    once = {row["image"]: row for row in rows}
    kinds = [[name, row["caption"], "many" if "two" in row["caption"] or "three" in row["caption"] else "one"]
             for name, row in once.items()]  # fmt: skip
    kinds[0][2], kinds[1][2] = "many", "one"
    source = table(book, kinds, "kinds.csv")
    out = tmp_path / "head"
    made = mmr("head", "train", trained, source, "--label", "label", "--out", out, "--set", "epochs=2")
    assert made.exit_code == 0, made.output
    assert "2 classes of label" in made.stdout
    again = mmr("head", "train", trained, source, "--label", "label", "--out", out)
    assert again.exit_code == 2
    assert "--force" in again.stderr.splitlines()[-1]

    report = json.loads(mmr("head", "eval", out, source, "--json").stdout)
    assert report["examples"] == 60
    assert set(report["per_class"]) == {"one", "many"}
    answer = mmr("head", "predict", out, book / "003.png", "--text", "a dog", "-k", 2, "--json")
    told = lines(answer)
    assert [line["rank"] for line in told] == [1, 2]
    assert sum(line["probability"] for line in told) == pytest.approx(1, abs=1e-4)
    assert mmr("head", "predict", out).exit_code == 2
    assert mmr("head", "predict", tmp_path / "none", book / "003.png").exit_code == 3

    index = tmp_path / "i.mmr"
    assert mmr("index", source, "--index", index, "--model", trained).exit_code == 0
    labelled = mmr("label", index, out)
    assert labelled.exit_code == 0, labelled.output
    with Store.open(index) as store:
        labels = [record.fields["labels"] for record in store.records(store.rows())]
        assert {label["predicted_label"] for label in labels} <= {"one", "many"}
        assert store.verify() == []
    said = mmr("ls", "--index", index, "--where", "predicted_label in ('one', 'many')")
    assert len(said.stdout.splitlines()) == 60
    unchanged = mmr("index", source, "--index", index, "--model", trained)
    assert "60 as before" in unchanged.stdout


def test_items_that_a_head_has_nothing_to_go_by_are_counted_and_left_out(trained, book, tmp_path):
    rows = [[f"{n:03d}.png", f"{'one' if n % 2 else 'two'} dogs", "odd" if n % 2 else "even"] for n in range(20)]
    words = ("--label", "label", "--set", "inputs=text", "--out", tmp_path / "head", "--set", "epochs=1")
    assert mmr("head", "train", trained, table(book, rows, "said.csv"), *words).exit_code == 0
    half = table(book, [[name, said if number > 4 else "", kind] for number, (name, said, kind) in enumerate(rows)])
    index = tmp_path / "i.mmr"
    assert mmr("index", half, "--index", index, "--model", trained).exit_code == 0
    done = mmr("label", index, tmp_path / "head")
    assert done.exit_code == 4, done.output
    assert "predicted_label of 15 items" in done.stdout
    assert done.stderr.splitlines()[-1] == "5 items have nothing of text: left out"


def test_classify_and_compare(trained, book):
    answer = mmr("classify", book / "003.png", "--labels", "a dog, a cat,a dog", "--model", trained, "--json")
    told = lines(answer)
    assert {line["label"] for line in told} == {"a dog", "a cat"}
    assert sum(line["probability"] for line in told) == pytest.approx(1, abs=1e-4)
    assert mmr("classify", book / "003.png", "--labels", "a dog", "--model", trained).exit_code == 2
    result = mmr("head", "compare", trained, book / "pairs.csv", "--label", "split", "--fusions", "image,concat",
                 "--seeds", 1, "--set", "epochs=1")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()[2:]] == ["image", "concat"]
