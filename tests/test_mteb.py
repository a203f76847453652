"""Our encoders in mteb, on tasks that are made here of drawn pictures: its figures are ours."""

import numpy as np
import pytest
from PIL import Image

from eval import metrics
from eval.ranking import Right, rank
from toy import ToyEncoder

mteb = pytest.importorskip("mteb", reason="mteb is not here: `pip install 'mmr-retrieval[mteb]'` brings it")

from datasets import Dataset  # noqa: E402  what follows needs mteb
from mteb.abstasks.retrieval import AbsTaskRetrieval  # noqa: E402
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402

from eval.mteb import ForMteb  # noqa: E402

COLORS = [(250, 10, 0), (0, 250, 20), (30, 0, 250), (200, 100, 0), (0, 200, 110)]
# The last caption is of the third picture and says otherwise, so that not all is found.
SAID = ["red", "green", "blue", "red red green", "green green blue", "blue blue red", "red green"]
CAPTIONS = dict(zip(SAID, [0, 1, 2, 3, 4, 2, 2], strict=True))


def pictures():
    return [Image.new("RGB", (16, 16), color) for color in COLORS]


def task(way):
    """text to image, "t2i", or image to text, "i2t"."""
    texts = {"id": [f"t{number}" for number in range(len(CAPTIONS))], "text": list(CAPTIONS)}
    images = {"id": [f"p{number}" for number in range(len(COLORS))], "image": pictures()}
    queries, corpus = (texts, images) if way == "t2i" else (images, texts)
    right: dict = {}
    for number, picture in enumerate(CAPTIONS.values()):
        query, item = (f"t{number}", f"p{picture}") if way == "t2i" else (f"p{picture}", f"t{number}")
        right.setdefault(query, {})[item] = 1

    class Drawn(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name=f"Drawn{way.upper()}Retrieval", description="Colors.", reference=None, type="Any2AnyRetrieval",
            dataset={"path": "here", "revision": "1"}, category=way, modalities=["image", "text"],
            eval_splits=["test"], eval_langs=["eng-Latn"], main_score="ndcg_at_10", date=None, domains=None,
            task_subtypes=None, license=None, annotations_creators=None, dialect=None, sample_creation=None,
            bibtex_citation=None,
        )  # fmt: skip

        def load_data(self, **options):
            data = RetrievalSplitData(
                queries=Dataset.from_dict(queries), corpus=Dataset.from_dict(corpus), relevant_docs=right,
                top_ranked=None,
            )  # fmt: skip
            self.dataset, self.data_loaded = {"default": {"test": data}}, True

    return Drawn()


def test_its_figures_are_ours_in_both_directions():
    encoder = ToyEncoder()
    result = mteb.evaluate(ForMteb(encoder), [task("t2i"), task("i2t")], cache=None, show_progress_bar=False)
    owner = list(CAPTIONS.values())
    right = Right.of(np.arange(len(owner)), owner)
    ours = rank(encoder.encode_texts(list(CAPTIONS)), encoder.encode_images(pictures()), right)
    for ranking, theirs in zip(ours, result.task_results, strict=True):
        found, (scores,) = metrics.measure(ranking), theirs.scores["test"]
        assert found["ndcg@10"] < 1
        names = {"hit_rate_at_1": "hit@1", "recall_at_5": "recall@5", "ndcg_at_10": "ndcg@10", "map_at_10": "map@10"}
        for name, own in names.items():
            assert scores[name] == pytest.approx(found[own], abs=1e-5), (theirs.task_name, name)
    assert (result.model_name, result.model_revision) == ("mmr/toy", "toy-fingerprint")


def test_what_a_batch_holds_decides():
    model, encoder = ForMteb(ToyEncoder()), ToyEncoder()
    words, seen = encoder.encode_texts(["red", "blue"]), encoder.encode_images(pictures()[:2])
    texts, images = {"text": ["red", "blue"]}, {"image": pictures()[:2]}
    np.testing.assert_array_equal(model.encode([texts, texts]), np.concatenate([words, words]))
    np.testing.assert_array_equal(model.get_text_embeddings([texts]), words)
    np.testing.assert_array_equal(model.get_image_embeddings([images]), seen)
    both = words + seen
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    np.testing.assert_allclose(model.get_fused_embeddings([texts | images]), both, rtol=1e-6)
    with pytest.raises(ValueError, match="and here are audio"):
        model.encode([{"audio": []}])
    np.testing.assert_allclose(model.similarity(words, words), words @ words.T, atol=1e-6)


def test_an_encoder_by_its_name(trained):
    model = ForMteb(str(trained), "cpu")
    assert model.mteb_model_meta.revision == model.model.fingerprint
    assert model.mteb_model_meta.embed_dim == model.model.dim
    assert model.mteb_model_meta.name.startswith("mmr/") and model.mteb_model_meta.name.count("/") == 1
