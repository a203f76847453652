"""Queries with their answers, for people to look at: the best and the worst ones, what is mixed up, captions alike."""

from collections.abc import Mapping, Sequence

import numpy as np

from eval import answers, mixups
from eval.answers import Answer, Firsts
from eval.measuring import DIRECTIONS, Measured
from eval.mixups import Alike, Hub, Mixed
from eval.page.pictures import Album
from eval.page.text import folded, words

BEST, WORST, ANSWERS = 4, 8, 5  # queries of a gallery; answers of a query
HUBS, LED, PAIRS = 5, 4, 6  # answers that many queries find wrongly, and such queries of each; pictures mixed up
GROUPS, MEMBERS = 8, 5  # of captions that are alike, and captions of each
_QUOTED = 2  # captions of a picture
_QUERY = {"text_to_image": "captions", "image_to_text": "pictures"}


class Gallery:
    """What is shown of one encoder."""

    def __init__(self, measured: Measured, album: Album) -> None:
        self._measured, self._album = measured, album
        self._captions: list[list[int]] = [[] for _ in measured.items]
        for caption, picture in enumerate(measured.owner.tolist()):
            self._captions[picture].append(caption)

    def html(self, found: Mapping[str, Firsts], before: tuple[str, Firsts] | None = None) -> str:
        """All of it.

        found: Direction -> the first answers. before: The name of another encoder and its first answers to captions.
        """
        parts = [self._answered(direction, found[direction]) for direction in DIRECTIONS]
        parts += self._changed(found["text_to_image"], *before) if before else []
        parts += [self._hubs(direction, found[direction]) for direction in DIRECTIONS]
        return "".join((*parts, self._mixed(found["text_to_image"]), self._alike()))

    # ---------------------------------------------------------------- best and worst

    def _answered(self, direction: str, found: Firsts) -> str:
        of = _QUERY[direction]
        return self._gallery(
            f"The worst {of}: their right answer stands furthest behind", direction, self._worst(direction, found), True
        ) + self._gallery(
            f"The best {of}: the right answer stands first, furthest ahead of any wrong one", direction,
            self._best(direction, found),
        )  # fmt: skip

    def _worst(self, direction: str, found: Firsts) -> list[int]:
        order = np.lexsort((found.ahead, -found.place))
        return self._of_each_picture(direction, found, order[found.place[order] > 1], WORST)

    def _best(self, direction: str, found: Firsts) -> list[int]:
        order = np.argsort(-found.ahead, kind="stable")
        return self._of_each_picture(direction, found, order[found.found[order]], BEST)

    def _of_each_picture(self, direction: str, found: Firsts, order: np.ndarray, most: int) -> list[int]:
        """The first queries, one of each picture."""
        owners = self._measured.owners(direction)[order]
        return found.asked[order[np.sort(np.unique(owners, return_index=True)[1])[:most]]].tolist()

    def _gallery(self, title: str, direction: str, queries: Sequence[int], is_open: bool = False) -> str:
        listed = answers.listed(self._measured, direction, queries, ANSWERS)
        show = self._caption_query if direction == "text_to_image" else self._picture_query
        return _part(title, [show(query, found) for query, found in zip(queries, listed, strict=True)], is_open)

    def _caption_query(self, caption: int, found: Sequence[Answer], told: str = "") -> str:
        """told: HTML behind the caption."""
        cells = [self._figure(one.item, _told(one), one.right) for one in found]
        return _card(self._quoted(caption) + told, _strip(cells))

    def _picture_query(self, picture: int, found: Sequence[Answer]) -> str:
        lines = [
            f'<li class="{"right" if one.right else "wrong"}"><small>{_told(one)}</small> {self._quoted(one.item)}</li>'
            for one in found
        ]
        return f'<article class="beside">{self._figure(picture)}<ol>{"".join(lines)}</ol></article>'

    def _changed(self, found: Firsts, other: str, before: Firsts) -> list[str]:
        """Captions that are found since another encoder, and those that are lost: the furthest ones first."""
        if not np.array_equal(found.asked, before.asked):
            return []
        gained, lost = found.found & ~before.found, before.found & ~found.found
        return [
            self._changes(f"Captions found first here, not by {other}", gained, -before.place, found, other, before),
            self._changes(f"Captions found first by {other}, not here", lost, -found.place, found, other, before),
        ]

    def _changes(
        self, title: str, changed: np.ndarray, by: np.ndarray, found: Firsts, other: str, before: Firsts
    ) -> str:  # fmt: skip
        order = np.argsort(by, kind="stable")
        queries = self._of_each_picture("text_to_image", found, order[changed[order]], WORST)
        places = before.place[np.searchsorted(found.asked, queries)].tolist()
        listed = answers.listed(self._measured, "text_to_image", queries, ANSWERS)
        told = [f" <small>place {place:,} by {words(other)}</small>" for place in places]
        return _part(f"{title}: {int(changed.sum()):,}", [*map(self._caption_query, queries, listed, told)])

    # ---------------------------------------------------------------- mixed up

    def _hubs(self, direction: str, found: Firsts) -> str:
        hubs, wrong = mixups.hubs(found), int((~found.found).sum())
        kind, of = ("Pictures", "captions") if direction == "text_to_image" else ("Captions", "pictures")
        title = f"{kind} that stand first for many {of} which they do not belong to"
        shown = self._hub_picture if direction == "text_to_image" else self._hub_caption
        told = [f"{len(hub.queries)} of {wrong} wrong first answers" for hub in hubs[:HUBS]]
        return _part(title, [shown(hub, said) for hub, said in zip(hubs, told, strict=False)])

    def _hub_picture(self, hub: Hub, told: str) -> str:
        own = [self._quoted(caption) for caption in self._captions[hub.item][:_QUOTED]]
        led = [self._quoted(caption) for caption in self._spread(hub.queries, self._measured.owner)]
        lists = f"<p>Its own captions</p>{_list(own)}<p>Wrongly found by</p>{_list(led)}"
        return f'<article class="beside">{self._figure(hub.item, told)}<div>{lists}</div></article>'

    def _hub_caption(self, hub: Hub, told: str) -> str:
        cells = [self._figure(int(self._measured.owner[hub.item]), "its picture", True)]
        cells += [self._figure(picture, "wrongly answered with it") for picture in hub.queries[:LED]]
        return _card(f"{self._quoted(hub.item)} <small>{told}</small>", _strip(cells))

    def _spread(self, queries: Sequence[int], owner: np.ndarray) -> list[int]:
        """A few of the captions, of as many pictures as there are."""
        of_each = {int(owner[query]): query for query in reversed(queries)}
        return sorted(of_each.values())[:LED]

    def _mixed(self, found: Firsts) -> str:
        pairs = mixups.mixed(found, self._measured.owner)[:PAIRS]
        return _part("Pairs of pictures that are taken for each other", [self._pair(two) for two in pairs])

    def _pair(self, two: Mixed) -> str:
        sides = ((two.one, two.to_other), (two.other, two.to_one))
        cells = "".join(
            f'<li>{self._figure(picture)}<p class="quiet">{len(led)} of its {len(self._captions[picture])} captions '
            f"find the other first</p>{_list([self._quoted(caption) for caption in led[:_QUOTED]])}</li>"
            for picture, led in sides
        )
        return f'<article><ul class="pair">{cells}</ul></article>'

    def _alike(self) -> str:
        groups = mixups.alike(self._measured)
        count = sum(len(group.captions) for group in groups)
        title = "Captions of different pictures that are alike: it cannot be told which one is meant"
        if groups:
            title += f" (groups: {len(groups):,}, captions: {count:,})"
        return _part(title, [self._group(group) for group in groups[:GROUPS]])

    def _group(self, group: Alike) -> str:
        one_each = self._spread(group.captions, self._measured.owner)
        cells = [
            self._figure(int(self._measured.owner[caption]), "" if group.same_words else self._quoted(caption))
            for caption in one_each[:MEMBERS]
        ]
        why = "the same words" if group.same_words else f"cosines of at least {mixups.NEAR}"
        told = f"<small>{len(group.captions)} captions of {group.pictures} pictures: {why}</small>"
        return _card(f"{self._quoted(group.captions[0])} {told}", _strip(cells))

    # ---------------------------------------------------------------- pieces

    def _quoted(self, caption: int) -> str:
        return f"<q>{words(self._measured.pairs[caption].caption) or 'no words'}</q>"

    def _figure(self, picture: int, told: str = "", right: bool = False) -> str:
        """told: HTML."""
        caption = f"<figcaption>{told}</figcaption>" if told else ""
        shown = self._album.picture(self._measured.items[picture])
        return f'<figure class="shown{" right" if right else ""}">{shown}{caption}</figure>'


def _told(one: Answer) -> str:
    right = "<b>right</b>, " if one.right else ""
    score = f"{one.score:.3f}" if np.isfinite(one.score) else "no number"
    return f"{right}place {one.place:,}, {score}"


def _part(title: str, cards: Sequence[str], is_open: bool = False) -> str:
    """A gallery that is opened by its title; a line where there is nothing to show."""
    return folded(title, "".join(cards), is_open) if cards else folded(title, '<p class="quiet">None.</p>')


def _card(heading: str, inside: str) -> str:
    return f"<article><h4>{heading}</h4>{inside}</article>"


def _strip(cells: Sequence[str]) -> str:
    return f'<ol class="strip">{"".join(f"<li>{cell}</li>" for cell in cells)}</ol>'


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>"
