"""The share of what was known before, by hand."""

import pytest
import torch

from retrieval.training import sharing
from retrieval.training.closed_forms import Seen
from retrieval.training.sharing import Known, best_share, merit


def test_merit_by_hand():
    scores = torch.tensor([[3.0, 4.0], [1.0, 2.0], [9.0, 1.0]])  # texts x pictures
    owner = torch.tensor([0, 1, 1])
    of_texts = (1 / 2 + 1 + 1 / 2) / 3  # the rank of each text's picture: 2, 1, 2
    of_pictures = (1 / 2 + 1 / 2) / 2  # texts of the other before its best: 9 > 3, 4 > 2
    assert merit(scores, owner) == pytest.approx((of_texts + of_pictures) / 2)


def pairs(n, noise):
    """Pictures and texts that are one random thing seen twice."""
    draw = torch.Generator().manual_seed(0)
    thing = torch.randn(n, 8, generator=draw)
    images = thing @ torch.randn(8, 24, generator=draw) + noise * torch.randn(n, 24, generator=draw)
    texts = thing @ torch.randn(8, 16, generator=draw) + noise * torch.randn(n, 16, generator=draw)
    return Seen(images[:, None], texts, torch.arange(n)), thing


def test_nothing_is_kept_of_what_knows_nothing_and_all_of_what_knows_everything():
    seen, thing = pairs(60, noise=0.1)
    draw = torch.Generator().manual_seed(1)
    blind = Known(*(torch.nn.functional.normalize(torch.randn(60, 8, generator=draw), dim=-1) for _ in range(2)))
    knowing = Known(*[torch.nn.functional.normalize(thing, dim=-1)] * 2)
    assert best_share(seen, blind, 8) <= 0.2
    hopeless, thing = pairs(60, noise=30.0)
    assert best_share(hopeless, Known(*[torch.nn.functional.normalize(thing, dim=-1)] * 2), 8) >= 0.5
    assert best_share(seen, knowing, 8) in sharing.SHARES


def test_no_pair_that_decides_was_learned_from(monkeypatch):
    seen, thing = pairs(30, noise=0.1)
    learned = []
    monkeypatch.setattr(sharing, "_learned", lambda given, dim: learned.append(given) or (_Blank(), _Blank()))
    monkeypatch.setattr(
        sharing, "_scores", lambda heads, asked: learned.append(asked) or torch.zeros(len(asked), len(asked))
    )
    best_share(seen, Known(thing, thing), 8)
    for rest, asked in zip(learned[::2], learned[1::2], strict=True):
        assert len(rest) == 24 and len(asked) == 6
        assert not {tuple(row) for row in rest.texts.tolist()} & {tuple(row) for row in asked.texts.tolist()}


class _Blank:
    pass


@pytest.mark.parametrize("n", range(2, 12))
def test_a_few_pairs_are_enough_to_decide_or_are_not_asked(n):
    seen, thing = pairs(n, noise=0.1)
    share = best_share(seen, Known(*[torch.nn.functional.normalize(thing, dim=-1)] * 2), 8)
    assert share in sharing.SHARES
    assert n >= 4 or share == 0.95


def test_every_picture_is_held_out_beside_another(monkeypatch):
    seen, thing = pairs(5, noise=0.1)
    held = []
    monkeypatch.setattr(
        sharing,
        "_merits",
        lambda seen, known, fold, dim: held.append(fold.tolist()) or torch.zeros(len(sharing.SHARES)),
    )
    best_share(seen, Known(thing, thing), 8)
    assert sorted(map(len, held)) == [2, 3] and sorted(sum(held, [])) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("form", ["cca", "ridge"])
def test_pictures_that_are_all_the_same_teach_nothing_and_break_nothing(form):
    from retrieval.towers.projections import Bridge
    from retrieval.training import closed_forms

    seen, _ = pairs(4, noise=0.1)
    same = Seen(seen.images[:1].expand(4, -1, -1).clone(), seen.texts, seen.owner)
    heads = Bridge(24, 8), Bridge(16, 8)
    closed_forms.FORMS[form](heads, same)
    assert all(bool(torch.isfinite(weight).all()) for head in heads for weight in head.state_dict().values())
