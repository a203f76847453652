"""The picture book: the same scenes everywhere, held-out pairs that are held out, captions that are true."""

import hashlib
import itertools
import random

import numpy as np

from retrieval.sources.picturebook import FLYING, Scene, is_held_out, scenes


def test_the_same_seed_gives_the_same_pixels_and_words():
    one, again = Scene.make(7), Scene.make(7)
    assert one == again
    assert one.draw(64).tobytes() == again.draw(64).tobytes()
    assert one.captions() == again.captions()
    assert Scene.make(7, seed=1) != one
    assert Scene.make(7, "test") != one


def test_any_size_shows_the_same_scene():
    small, large = Scene.make(3).draw(32), Scene.make(3).draw(128).resize((32, 32))
    assert small.size == (32, 32)
    difference = np.abs(np.asarray(small, float) - np.asarray(large, float)).mean()
    assert difference < 8  # of 255: edges are drawn at another resolution


def test_held_out_pairs_never_occur_in_training_and_always_in_test():
    def held_out(split):
        return [sum(is_held_out(group.thing, group.color) for group in scene.groups) for scene in scenes(500, split)]

    assert max(held_out("train")) == 0
    assert min(held_out("test")) == 1


def test_captions_go_from_terse_to_full():
    for scene in scenes(200, "test"):
        captions = scene.captions()
        assert len(captions) == {1: 4, 2: 6, 3: 7}[len(scene.groups)]
        assert captions[-1] == scene.full_caption() == max(captions, key=len)
        assert all(group.thing.rstrip("y") in captions[-1] for group in scene.groups)


def test_full_captions_single_the_scene_out():
    full = [scene.full_caption() for scene in scenes(500, "test")]
    assert len(set(full)) >= 490


def test_relations_are_true_of_the_places():
    seen = set()
    for scene in scenes(400):
        if scene.relation:
            first, second = (np.array(group.places).mean(0) for group in scene.groups[:2])
            holds = {"left": first[0] < second[0], "right": first[0] > second[0], "above": first[1] < second[1]}
            assert holds[scene.relation], scene.full_caption()
            seen.add(scene.relation)
        for group in scene.groups:
            heights = [y for _, y in group.places]
            assert (max(heights) < 0.5) == (group.thing in FLYING)
    assert seen == {"left", "right", "above"}


def test_counts_are_drawn():
    for scene in scenes(200):
        for group in scene.groups:
            word = ("a", "two", "three", "four")[len(group.places) - 1]
            assert group.words(random.Random(0), 2).split()[0] in (word, "an", "the")


def test_no_two_scenes_look_alike():
    drawn = {hashlib.sha256(scene.draw(32).tobytes()).digest() for scene in itertools.islice(scenes(300), 300)}
    assert len(drawn) == 300
