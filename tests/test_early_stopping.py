"""The best evaluation is what is saved, and a run that gains nothing more ends."""

import dataclasses
import json

import pytest
from PIL import Image

from retrieval import open_pairs, recipes
from retrieval.encoders.load import load_encoder
from retrieval.errors import BadRequest
from retrieval.training import curves, log
from retrieval.training.early_stopping import Evaluations
from retrieval.training.loop import train

CONFIG = dataclasses.replace(
    recipes.smoke(), precision="fp32", epochs=8, batch_size=10, evaluations=8, checkpoints=4, warmup=0.0
)


@pytest.fixture(scope="module")
def pairs():
    return open_pairs("picturebook:20?size=32")


def recall(value):
    return {"text_to_image_recall@10": value, "image_to_text_recall@10": value, "text_to_image_mrr": 1 - value}


def measured(values, seen=None):
    """An on_eval that says these recalls, in order, and notes the encoders it was shown."""
    values = iter(values)

    def measure(encoder):
        if seen is not None:
            seen.append({name: tensor.clone() for name, tensor in encoder.state_dict().items()})
        return recall(next(values))

    return measure


# ---------------------------------------------------------------- by hand


def best_of(values, **changes):
    best = Evaluations(dataclasses.replace(CONFIG, **changes))
    news = [best.add(step, recall(value)) for step, value in enumerate(values, 1)]
    return best, news


def test_the_first_of_equal_evaluations_is_the_best():
    best, news = best_of([0.2, 0.5, 0.5, 0.4])
    assert best.step == 2
    assert news == [True, True, False, False]


def test_both_directions_count_and_others_do_not():
    best = Evaluations(CONFIG)
    best.add(1, {"text_to_image_recall@10": 0.4, "image_to_text_recall@10": 0.1})
    best.add(2, {"text_to_image_recall@10": 0.3, "image_to_text_recall@10": 0.3})
    best.add(3, {"remembered_text_to_image_recall@10": 0.9})
    assert best.step == 2


def test_what_a_fine_tune_began_with_is_not_among_them():
    history = [(0, recall(0.9)), (5, recall(0.2))]
    best = Evaluations(dataclasses.replace(CONFIG, encoder="runs/before"), history)
    assert best.step == 5
    assert best.before == recall(0.9)
    assert Evaluations(CONFIG, history).before is None  # a closed form that was measured before the first step


@pytest.mark.parametrize(("values", "over"), [([0.1, 0.3, 0.2], False), ([0.1, 0.3, 0.2, 0.3], True), ([0.1], False)])
def test_patience_by_hand(values, over):
    assert best_of(values, patience=2)[0].is_over() == over
    assert not best_of(values, patience=0)[0].is_over()


# ---------------------------------------------------------------- in a run


def test_the_weights_of_the_best_evaluation_are_saved(pairs, tmp_path):
    seen, said = [], []
    result = train(
        pairs, tmp_path / "run", CONFIG, on_message=said.append,
        on_eval=measured([0.1, 0.2, 0.6, 0.3, 0.2, 0.1, 0.1, 0.5], seen),
    )  # fmt: skip
    assert (result.kept, result.steps) == (6, 16)
    assert result.metrics == recall(0.6)
    assert "kept step 6" in said[-1]
    saved = load_encoder(str(tmp_path / "run")).state_dict()
    assert all((saved[name] == seen[2][name]).all() for name in saved)
    assert any((saved[name] != seen[-1][name]).any() for name in saved)


def test_or_those_of_the_last_step(pairs, tmp_path):
    config = dataclasses.replace(CONFIG, keep="last", ema=0.5)
    seen = []
    result = train(pairs, tmp_path / "run", config, on_eval=measured([0.9, *[0.1] * 7], seen))
    assert result.kept == 16
    assert all((result.encoder.state_dict()[name] == tensor).all() for name, tensor in seen[-1].items())


def test_a_run_that_gains_nothing_more_ends(pairs, tmp_path):
    said = []
    config = dataclasses.replace(CONFIG, patience=2)
    result = train(pairs, tmp_path / "run", config, on_eval=measured([0.1, 0.4, 0.3, 0.2]), on_message=said.append)
    assert (result.steps, result.kept, result.finished) == (8, 4, True)
    assert "stopped at step 8 of 16: 2 evaluations in a row" in said[-2]
    assert load_encoder(str(tmp_path / "run")).fingerprint == result.encoder.fingerprint


def test_stopped_and_resumed_it_remembers_what_was_best(pairs, tmp_path):
    values = [0.1, 0.7, 0.3, 0.2, 0.3, 0.3, 0.2, 0.2]
    straight = train(pairs, tmp_path / "a", CONFIG, on_eval=measured(values))
    steps = iter([False] * 6 + [True])
    train(pairs, tmp_path / "b", CONFIG, on_eval=measured(values), should_stop=lambda: next(steps))
    resumed = train(pairs, tmp_path / "b", CONFIG, on_eval=measured(values[3:]), resume=True)
    assert resumed.kept == straight.kept == 4
    assert resumed.encoder.fingerprint == straight.encoder.fingerprint


def test_a_fine_tune_is_measured_before_its_first_step(pairs, trained, tmp_path):
    config = dataclasses.replace(CONFIG, encoder=str(trained), evaluations=2)
    seen = []
    result = train(pairs, tmp_path / "run", config, on_eval=measured([0.5, 0.3, 0.2], seen))
    assert result.before == recall(0.5)
    assert all((load_encoder(str(trained)).state_dict()[name] == tensor).all() for name, tensor in seen[0].items())
    assert log.read(tmp_path / "run")[0]["step"] == 0


# ---------------------------------------------------------------- what is left to read


def test_the_log_and_its_curves(pairs, tmp_path):
    config = dataclasses.replace(CONFIG, epochs=20)
    train(pairs, tmp_path / "run", config, on_eval=measured([0.1 * n for n in range(1, 9)]))
    lines = log.read(tmp_path / "run")
    assert [line["step"] for line in lines] == sorted({*range(10, 41, 10), *range(5, 41, 5)})
    panels = {panel.title: panel for panel in curves.panels_of(lines)}
    assert panels["Recall@10 on --eval"].lines["text-to-image"] == [
        (5 * n, pytest.approx(0.1 * n)) for n in range(1, 9)
    ]  # fmt: skip
    assert len(panels["Loss"].lines["training"]) == 8
    assert Image.open(tmp_path / "run" / "curves.png").size == (1920, 1080)


LINE = {"step": 10, "loss": 1.0, "chance": 2.0, "lr": 1, "logit_scale": 1}


def test_the_page_shows_every_value_and_says_what_it_is():
    """Its lines are the log's, beside chance; axes and lines have names, and what is a share is in percent."""
    lines = [LINE | {"step": step, "loss": 4 - step / 25, "metrics": recall(step / 100)} for step in (20, 60, 100)]
    loss, recalls, rate, _ = curves.figure_of(curves.panels_of(lines)).axes
    assert loss.lines[0].get_xydata().tolist() == [[20, 3.2], [60, 1.6], [100, 0]]
    assert list(loss.lines[1].get_ydata()) == [2.0, 2.0]
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training", "chance, 2.00"]
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("step", "loss")
    assert [text.get_text() for text in recalls.get_legend().get_texts()] == ["text-to-image", "image-to-text"]
    assert [line.get_ydata().tolist() for line in recalls.lines] == [[0.2, 0.6, 1.0]] * 2
    assert recalls.yaxis.get_major_formatter()(0.4) == "40%"
    assert rate.get_legend() is None
    for axes in (loss, recalls, rate):
        assert axes.get_ylim()[0] == 0


def test_values_below_zero_are_on_the_page():
    lines = [LINE | {"step": step, "metrics": recall(step - 1)} for step in (0, 1)]
    shown = curves.figure_of(curves.panels_of(lines)).axes[1]
    assert shown.get_ylim()[0] <= -1


def test_a_picture_leaves_pyplot_alone(tmp_path):
    """A program that draws its own pictures keeps its current figure and its backend."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    before = (pyplot.get_fignums(), pyplot.get_backend())
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(LINE | {"step": step}) + "\n" for step in (10, 20)))
    assert curves.draw(tmp_path) == tmp_path / "curves.png"
    assert (pyplot.get_fignums(), pyplot.get_backend()) == before


def test_without_matplotlib_a_run_goes_on_and_says_once_what_to_install(pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "find_spec", lambda name: None)
    said = []
    config = dataclasses.replace(CONFIG, epochs=1, evaluations=2, generations=2)
    result = train(pairs, tmp_path / "run", config, on_eval=lambda encoder: recall(0.5), on_message=said.append)
    assert result.finished
    assert [text for text in said if "matplotlib" in text] == [
        "curves.png needs matplotlib: pip install 'mmr-retrieval[plots]'"
    ]  # fmt: skip
    assert not list((tmp_path / "run").rglob("curves*"))


def test_nothing_to_draw_draws_nothing(tmp_path):
    assert curves.draw(tmp_path) is None
    (tmp_path / "log.jsonl").write_text('{"step": 10, "loss": 1.0, "chance": 2.0, "lr": 1, "logit_scale": 1}\n{"st')
    assert curves.draw(tmp_path) is None


def test_events_for_tensorboard(pairs, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = dataclasses.replace(CONFIG, tensorboard=True, evaluations=2)
    train(pairs, tmp_path / "run", config, on_eval=measured([0.1, 0.2]))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    lines = log.read(tmp_path / "run")
    assert [e.step for e in events.Scalars("loss")] == [line["step"] for line in lines]
    assert [e.value for e in events.Scalars("loss")] == pytest.approx([line["loss"] for line in lines])
    assert [e.value for e in events.Scalars("text_to_image_recall@10")] == pytest.approx([0.1, 0.2])


def test_without_tensorboard_it_names_what_to_install(pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(log, "find_spec", lambda name: None)
    with pytest.raises(BadRequest, match=r"pip install 'mmr-retrieval\[tensorboard\]'"):
        train(pairs, tmp_path / "run", dataclasses.replace(CONFIG, tensorboard=True))
    assert not (tmp_path / "run").exists()


def test_figures_below_zero_and_those_that_are_none_are_drawn_too(tmp_path):
    lines = [LINE | {"metrics": recall(-0.5)}, LINE | {"step": 20, "metrics": recall(-0.1)}]
    lines.append(LINE | {"step": 30, "loss": float("nan"), "metrics": recall(float("nan"))})
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    panels = {panel.title: panel for panel in curves.panels_of(log.read(tmp_path))}
    assert panels["Recall@10 on --eval"].lines["text-to-image"] == [(10, -0.5), (20, -0.1)]
    assert curves.draw(tmp_path) == tmp_path / "curves.png"


def test_a_torn_line_of_the_log_is_left_out(tmp_path):
    (tmp_path / "log.jsonl").write_text(json.dumps({"step": 1}) + '\n{"step": 2, "lo')
    assert log.read(tmp_path) == [{"step": 1}]
