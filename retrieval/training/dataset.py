"""Batches: pairs to tensors. What is in the batch of a step depends on (seed, step) alone, so a run resumes anywhere.

A batch holds distinct pictures and one or more draws of captions, each with one caption of every picture. A draw meets
the pictures, not the other draws: captions of one picture are never each other's negatives.
"""

import dataclasses
import math
import re
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch

from retrieval.callbacks import OnProgress, no_progress
from retrieval.datatypes import Features, Item, Pair
from retrieval.encoders.encoder import DualEncoder
from retrieval.encoders.protocol import KeptTokenizer, Tokenizer
from retrieval.encoders.tokenizers.captions import CaptionTokenizer
from retrieval.encoders.tokenizers.rows import pad
from retrieval.errors import BadRequest, ImageError, NothingReadable
from retrieval.images import kinds, load
from retrieval.training.augment import augment, drop_words, jitter
from retrieval.training.config import TrainConfig
from retrieval.training.hard_negatives import nearest
from retrieval.training.sampler import Order
from retrieval.training.teacher import Teacher, in_chorus

MARGIN = 7 / 6  # pictures are kept this much larger than the tower sees them, so that a crop keeps its sharpness
_SIDES = re.compile(r"\b(left|right)\b", re.IGNORECASE)


class Batch(NamedTuple):
    """The pictures and captions of one training step.

    images: float (b, s, s, c) in 0..255, of clips (b, frames, s, s, c); tokens: int64 (b, draws, l); items: (b,)
    positions in the training set; alike: int64 (b, draws), the same number for captions of the same words; None where
    such are negatives as others.
    teacher: what another encoder says of them, its text (b, draws, d). first_row: where these rows begin in the whole
    batch, of which other processes may hold the rest; alike and teacher are of the whole.
    """

    images: torch.Tensor
    tokens: torch.Tensor
    items: np.ndarray
    alike: torch.Tensor | None = None
    teacher: Features | None = None
    first_row: int = 0


class TrainingSet:
    """Pictures with their captions' tokens.

    Attributes:
        skipped: (uri, reason) of pictures that do not decode.
        pixels: All pictures, uint8 (n, ...); None where they take too much memory and are decoded as they come.
        tokens: The token rows of each picture's captions.
    """

    def __init__(
        self, pairs: Sequence[Pair], encoder: DualEncoder, config: TrainConfig,
        on_progress: OnProgress = no_progress, processes: int = 1, process: int = 0,
        teachers: Sequence[DualEncoder] = (),
    ) -> None:  # fmt: skip
        self.config, self._processes, self._process = config, processes, process
        self.skipped: list[tuple[str, str]] = []
        self._shown = config.train_size or encoder.preprocess.size
        self._kept = round(self._shown * MARGIN) if config.crop < 1 else self._shown
        self._keep = dataclasses.replace(encoder.preprocess, size=self._kept)
        frames = (config.frames,) if config.frames > 1 else ()
        self._shape = (*frames, self._kept, self._kept, encoder.preprocess.channels)
        self._only_hears = encoder.preprocess.hears("clip")
        captions: dict[str, list[str]] = {}
        items: dict[str, Item] = {}
        weight: dict[str, float] = {}
        for pair in pairs:
            captions.setdefault(pair.item.id, []).append(pair.caption)
            items[pair.item.id] = pair.item
            weight[pair.item.id] = pair.weight
        self._items = list(items.values())
        unit = kinds.counted({item.kind for item in self._items})
        _require_taken(self._items, encoder.preprocess.kinds)
        self.pixels = self._look(encoder, on_progress)
        texts = [captions[item.id] for item in self._items]
        self.tokens = self._read(encoder, texts)
        self._teachers = [Teacher(teacher, self._items, texts) for teacher in teachers]
        weights = np.array([weight[item.id] for item in self._items])
        near = nearest(config.hard_negatives, [item.id for item in self._items]) if config.hard_negatives else None
        self.draws = min(config.captions, max(map(len, self.tokens), default=1))
        # A foreign tokenizer's rows carry marks that must stay where they are.
        self._word_dropout = config.word_dropout if isinstance(encoder.tokenize, CaptionTokenizer) else 0.0
        self.flips = not self._only_hears and mirrors(config.flip, [text for several in texts for text in several])
        if len(self._items) < 2:
            few = f"{len(self._items)} usable {unit[:-1]}(s)"
            raise NothingReadable(f"{few}: contrastive training needs at least 2, better 1000: add some", self.skipped)
        self.order = Order(config.seed, len(self._items), self.batch_size, weights, near, config.hard_share)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def batch_size(self) -> int:
        """Pairs in a batch, over all processes: as configured, or all pictures where there are fewer."""
        return min(self.config.batch_size, len(self) // self._processes * self._processes)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        least = 1 if self.config.epochs else 0
        return max(least, round(self.config.epochs * len(self) / self.batch_size))

    def batch(self, step: int) -> Batch:
        """The batch of that step, always the same one; of several processes, the rows that are this one's."""
        items, mine = self.order(step), self._mine()
        rng = np.random.default_rng([self.config.seed, 2, step])
        drawn = [_draw(len(self.tokens[i]), self.draws, rng) for i in items]
        rows = [self.tokens[i][place] for i, places in zip(items, drawn, strict=True) for place in places]
        alike = None if self.config.duplicates == "negative" else _alike(rows).unflatten(0, (len(items), self.draws))
        if self._word_dropout:
            rows = [drop_words(row, self._word_dropout, rng) for row in rows]
        tokens = self._padded(rows).unflatten(0, (len(items), self.draws))
        shown = self._shown_of(items, mine, step, torch.Generator().manual_seed(int(rng.integers(2**62))))
        teacher = in_chorus([ask(items, drawn) for ask in self._teachers]) if self._teachers else None
        return Batch(shown, tokens[mine], items[mine], alike, teacher, mine.start)

    def _shown_of(self, items: np.ndarray, mine: slice, step: int, generator: torch.Generator) -> torch.Tensor:
        shown = torch.from_numpy(self._take(items[mine]))
        shown = self._augmented(shown, self._size_at(step), generator, mine, len(items))
        if self.config.color_jitter:  # after the crops, which have fewer pixels
            stacked = shown.flatten(1, -3)  # the frames of a clip as one high picture: all are changed alike
            shown = jitter(stacked, self.config.color_jitter, generator, mine, len(items)).view_as(shown)
        return shown

    def _mine(self) -> slice:
        """The rows of a batch that this process holds."""
        each = self.batch_size // self._processes
        return slice(self._process * each, (self._process + 1) * each)

    def _augmented(
        self, pixels: torch.Tensor, size: int, generator: torch.Generator, mine: slice, of: int
    ) -> torch.Tensor:
        """`augment`, with the frames of a clip cut alike: they go through as channels of one picture."""
        config = self.config
        if pixels.ndim == 4:
            return augment(pixels, size, config.crop, self.flips, generator, mine, of)
        count, channels = pixels.shape[1], pixels.shape[-1]
        shown = augment(pixels.movedim(1, 3).flatten(3), size, config.crop, self.flips, generator, mine, of)
        return shown.unflatten(3, (count, channels)).movedim(3, 1)

    def _size_at(self, step: int) -> int:
        """Pixels of the crops: small ones first, where the run begins so."""
        small = step < self.config.small_share * self.steps
        return min(self.config.small_size, self._shown) if small else self._shown

    def share_of(self, step: int) -> float:
        """The share of the pixels of the whole run, 0..1, that its first `step` steps see: about that of the work."""
        small = math.ceil(self.config.small_share * self.steps)
        less = (self._size_at(0) / self._shown) ** 2
        seen, of = (min(steps, small) * less + max(0, steps - small) for steps in (step, self.steps))
        return seen / of

    def batches(self, first: int) -> Iterator[Batch]:
        """The batches of steps `first`, `first + 1`, ... to the end, two of them prepared ahead in the background."""
        with ThreadPoolExecutor(1) as pool:
            ahead: list[Future] = []
            try:
                for step in range(first, self.steps):
                    while len(ahead) < 3 and step + len(ahead) < self.steps:
                        ahead.append(pool.submit(self.batch, step + len(ahead)))
                    yield ahead.pop(0).result()
            finally:
                for future in ahead:
                    future.cancel()

    # ---------------------------------------------------------------- captions

    def _read(self, encoder: DualEncoder, texts: Sequence[Sequence[str]]) -> list[Any]:
        """The rows of each picture's captions."""
        return [_token_rows(encoder.tokenize, several) for several in texts]

    def _padded(self, rows: Sequence[Any]) -> torch.Tensor:
        """Rows of captions as one tensor."""
        return torch.from_numpy(pad(rows))

    # ---------------------------------------------------------------- pixels

    def _look(self, encoder: DualEncoder, on_progress: OnProgress) -> np.ndarray | None:
        """All pictures as uint8 (n, s, s, c), or None where that is more than pixel_cache_gb. Drops the undecodable."""
        size = len(self._items) * math.prod(self._shape)
        if size > self.config.pixel_cache_gb * 2**30:
            return None
        pixels = np.empty((len(self._items), *self._shape), np.uint8)
        good: list[Item] = []
        with ThreadPoolExecutor(4) as pool:
            for number, result in enumerate(pool.map(self._decode, self._items)):
                if isinstance(result, ImageError):
                    self.skipped.append((self._items[number].uri, str(result)))
                else:
                    pixels[len(good)] = result
                    good.append(self._items[number])
                on_progress(number + 1, len(self._items))
        self._items = good
        return pixels[: len(good)]

    def _decode(self, item: Item) -> np.ndarray | ImageError:
        try:
            if len(self._shape) == 3:
                return self._seen(item, 1)[0]
            kept = self._seen(item, self._shape[0])
            return np.stack([kept[i * len(kept) // self._shape[0]] for i in range(self._shape[0])])
        except ImageError as error:
            return error

    def _seen(self, item: Item, count: int) -> list[np.ndarray]:
        """Up to `count` frames of a clip, windows of a sound, or one picture."""
        if self._only_hears:
            heard = load.windows_of(item, count, self._keep.seconds)
            return [self._keep.heard(window) for window in heard.frames]
        if count == 1:
            return [self._keep(load.load(item, at_least=2 * self._kept))]
        return [self._keep(frame) for frame in load.load_frames(item, count, 2 * self._kept)]

    def _take(self, items: np.ndarray) -> np.ndarray:
        if self.pixels is not None:
            return self.pixels[items]
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(self._decode, [self._items[i] for i in items]))
        shown = [self._gray(item, one) if isinstance(one, ImageError) else one
                 for item, one in zip(items, results, strict=True)]  # fmt: skip
        return np.stack(shown)

    def _gray(self, item: int, reason: ImageError) -> np.ndarray:
        """What is shown in place of a bad picture, where there were too many to look at beforehand; it is noted."""
        known = (self._items[item].uri, str(reason))
        if known not in self.skipped:
            self.skipped.append(known)
        return np.full(self._shape, 127, np.uint8)


def _require_taken(items: Sequence[Item], taken: Collection[str]) -> None:
    """Raise BadRequest where nothing is of a kind that the encoder takes: no file need be read to know it."""
    if not items or any(item.kind in taken for item in items):
        return
    if "sound" in taken:
        raise BadRequest(f"all {len(items)} are pictures, and this encoder is to hear: leave out --recipe sound")
    raise BadRequest(
        f"all {len(items)} are sounds, and this encoder is to see: train with --recipe sound, or --set image_tower=mel"
    )


def mirrors(flip: str, captions: Sequence[str]) -> bool:
    """Are pictures mirrored? flip: "yes", "no" or "auto"."""
    return flip == "yes" or (flip == "auto" and not speaks_of_sides(captions))


def speaks_of_sides(texts: Sequence[str]) -> bool:
    """True where at least one caption in fifty says left or right: mirroring would make those false."""
    return sum(bool(_SIDES.search(text)) for text in texts) * 50 >= len(texts)


def _token_rows(tokenize: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    return tokenize.rows(texts) if isinstance(tokenize, KeptTokenizer) else tokenize(texts).tolist()


def _draw(captions: int, count: int, rng: np.random.Generator) -> list[int]:
    """Which of a picture's captions: `count` in random order; where it has fewer, they come again."""
    order = rng.permutation(captions)
    return [int(order[i % captions]) for i in range(count)]


def _alike(rows: list[list[int]]) -> torch.Tensor:
    """A number of each row: the same where rows are."""
    numbers: dict[tuple[int, ...], int] = {}
    return torch.tensor([numbers.setdefault(tuple(row), len(numbers)) for row in rows])
