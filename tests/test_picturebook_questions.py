"""What is right is said by a scene's description: scenes made by hand, and what is true of them."""

import pytest

from cli.commands import demo
from retrieval.datatypes import Hit
from retrieval.errors import BadRequest
from retrieval.sources.picturebook import Scene, Things, scenes
from retrieval.sources.picturebook_questions import is_near, is_true, shelf

DOG = Things("dog", "brown", True, ((0.2, 0.7),), 0)
BIRDS = Things("bird", "red", False, ((0.6, 0.2), (0.9, 0.3)), 0)
TREE = Things("tree", "green", False, ((0.5, 0.8),), 0)
DOG_AND_BIRDS = Scene(0, "night", (DOG, BIRDS), "left")
THREE = Scene(0, "beach", (TREE, DOG, BIRDS), None)


@pytest.mark.parametrize(
    ("question", "right"),
    [
        ("a dog", True),
        ("a brown dog", True),
        ("a red dog", False),  # red are the birds
        ("a big brown dog", True),
        ("a small dog", False),
        ("two birds", True),
        ("two small red birds", True),
        ("two brown birds", False),
        ("a bird", True),  # there are two
        ("three birds", False),
        ("a cat", False),
        ("a dog at night", True),
        ("a dog under the stars", True),
        ("a dog by day", False),
        ("a dog on the left", True),
        ("a dog on the right", False),
        ("a dog to the left of two birds", True),
        ("a dog right of two birds", False),
        ("two birds to the right of a dog", True),
        ("two birds above a large dog at night", True),
        ("a dog over two birds", False),
        ("two birds and a dog", True),  # in whatever order
        ("a dog and a tree", False),
        ("two dogs and a bird", False),
    ],
)
def test_what_is_true_of_a_brown_dog_left_of_two_red_birds(question, right):
    assert is_true(question, DOG_AND_BIRDS) is right


@pytest.mark.parametrize(
    ("question", "right"),
    [
        ("a dog left of a tree", True),  # in the middle the tree, whichever is named first
        ("a tree left of two birds", True),
        ("a tree left of a dog", False),
        ("a dog left of a tree with two birds", True),
        ("a dog left of a tree with two birds by the sea", True),
        ("a dog left of a tree with three birds", False),
    ],
)
def test_what_is_true_of_three_groups(question, right):
    assert is_true(question, THREE) is right


def test_the_same_thing_otherwise_is_near():
    assert [is_near(question, DOG_AND_BIRDS) for question in ("a red dog", "three birds", "a dog by day")] == [True] * 3
    assert is_near("a dog to the right of two birds", DOG_AND_BIRDS)
    assert not is_near("a brown dog", DOG_AND_BIRDS)  # it is so
    assert not is_near("a dog left of a tree", DOG_AND_BIRDS)  # no tree is there


def test_every_caption_of_a_scene_is_true_of_it():
    for scene in scenes(100, "test"):
        for caption in scene.captions():
            assert is_true(caption, scene), caption


@pytest.mark.parametrize("question", ["a zebra", "dog", "dogs", "a fast dog", "a red red dog and a", "seven dogs", ""])
def test_words_that_are_not_the_books_are_refused(question):
    with pytest.raises(BadRequest, match="ask as its captions do"):
        is_true(question, THREE)


def test_a_shelf_has_answers_and_near_misses_and_no_more_than_it_must():
    asked = ("a dog", "two birds", "a boat to the left of a tree")
    there = list(shelf(asked, 50, 3, "test", 0))
    assert [number for number, _ in there][:50] == list(range(50))
    assert there[7][1] == Scene.make(7, "test", 0)
    for question in asked:
        right = sum(is_true(question, scene) for _, scene in there)
        near = sum(is_near(question, scene) for _, scene in there)
        assert right >= 3 and (near >= 3 or question == "a dog"), question
        if sum(is_true(question, scene) for _, scene in there[:50]) < 3:  # then no more were taken for its sake
            assert right < 3 + len(asked) * 2
    assert all(any(is_true(q, s) or is_near(q, s) for q in asked) for _, s in there[50:])


def test_the_table_of_the_demo_counts_what_is_right():
    """Of four scenes two have two birds: 1.0 of the first 2 by chance; found are one of those and one of the others."""
    three = Things("bird", "red", False, ((0.2, 0.2), (0.6, 0.2), (0.9, 0.3)), 0)
    others = [Scene(0, "day", (one,), None) for one in (three, DOG)]
    there = dict(zip((3, 5, 700, 12345), (DOG_AND_BIRDS, others[0], THREE, others[1]), strict=True))
    hits = [Hit(rank, 0.5, f"test-{number:05d}.png", None, (), "") for rank, number in ((1, 5), (2, 12345 - 11645))]
    lines = demo.table_of({"two birds": hits, "a dog": hits[1:]}, there)
    assert [line.split() for line in lines[1:]] == [
        ["two", "birds", "1", "of", "2", "1.0"],
        ["a", "dog", "1", "of", "1", "0.8"],
    ]


@pytest.mark.parametrize(
    ("minutes", "count", "times"),
    [(0, 480, 1), (2, 19_200, 1), (4.55, 60_000, 1), (8.3, 60_000, 2)],
)
def test_more_minutes_are_more_scenes_and_then_more_looks(minutes, count, times):
    assert demo.FROM_SCRATCH.scenes_in(minutes) == (count, times)
