"""Batches: pairs to tensors. What is in the batch of a step depends on (seed, step) alone, so a run resumes anywhere.

A batch holds distinct pictures and one or more draws of captions, each with one caption of every picture. A draw meets
the pictures, not the other draws: captions of one picture are never each other's negatives.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from retrieval import images
from retrieval.config import TrainConfig
from retrieval.datatypes import Item, Pair
from retrieval.encoder import DualEncoder
from retrieval.errors import BadRequest, ImageError
from retrieval.preprocess import Preprocess
from retrieval.tokenizer import CaptionTokenizer, pad

MARGIN = 7 / 6  # pictures are kept this much larger than the tower sees them, so that a crop keeps its sharpness
_SIDES = re.compile(r"\b(left|right)\b", re.IGNORECASE)


class Batch(NamedTuple):
    """images: float (b, s, s, 3) in 0..255; tokens: int64 (b, draws, l); items: (b,) positions in the training set.

    first_row: where these rows begin in the whole batch, of which another process may hold the others.
    """

    images: torch.Tensor
    tokens: torch.Tensor
    items: np.ndarray
    first_row: int = 0


class TrainingSet:
    """Pictures with their captions' tokens. skipped: (uri, reason) of pictures that do not decode."""

    def __init__(
        self, pairs: Sequence[Pair], encoder: DualEncoder, config: TrainConfig,
        on_progress: Callable[[int, int], None] = lambda done, total: None, processes: int = 1, process: int = 0,
    ) -> None:  # fmt: skip
        self.config, self._processes, self._process = config, processes, process
        self.skipped: list[tuple[str, str]] = []
        self._shown = config.train_size or encoder.preprocess.size
        self._kept = round(self._shown * MARGIN) if config.crop < 1 else self._shown
        self._keep = Preprocess(self._kept, encoder.preprocess.mode, interpolation=encoder.preprocess.interpolation)
        captions: dict[str, list[str]] = {}
        items: dict[str, Item] = {}
        for pair in pairs:
            captions.setdefault(pair.item.id, []).append(pair.caption)
            items[pair.item.id] = pair.item
        self._items = list(items.values())
        self._pixels = self._decode_all(on_progress)
        self._tokens = [_token_rows(encoder.tokenize, captions[item.id]) for item in self._items]
        self.draws = min(config.captions, max(map(len, self._tokens), default=1))
        # A foreign tokenizer's rows carry marks that must stay where they are.
        self._word_dropout = config.word_dropout if isinstance(encoder.tokenize, CaptionTokenizer) else 0.0
        self.flips = config.flip == "yes" or (config.flip == "auto" and not speaks_of_sides(captions))
        if len(self._items) < 2:
            raise BadRequest(
                f"{len(self._items)} usable picture(s): contrastive training needs at least 2, better 1000"
            )

    def __len__(self) -> int:
        return len(self._items)

    @property
    def batch_size(self) -> int:
        """Pairs in a batch, over all processes: as configured, or all pictures where there are fewer."""
        return min(self.config.batch_size, len(self) // self._processes * self._processes)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return max(1, round(self.config.epochs * len(self) / self.batch_size))

    def order(self, step: int) -> np.ndarray:
        """The pictures of a step: consecutive pieces of a new permutation each pass; a remainder is left out."""
        per_pass = len(self) // self.batch_size
        number, piece = divmod(step, per_pass)
        order = np.random.default_rng([self.config.seed, 1, number]).permutation(len(self))
        return order[piece * self.batch_size : (piece + 1) * self.batch_size]

    def batch(self, step: int) -> Batch:
        """The batch of that step, always the same one; of several processes, the rows that are this one's."""
        items, mine = self.order(step), self._mine()
        rng = np.random.default_rng([self.config.seed, 2, step])
        rows = [row for i in items for row in _draw(self._tokens[i], self.draws, rng)]
        if self._word_dropout:
            rows = [_drop_words(row, self._word_dropout, rng) for row in rows]
        tokens = torch.from_numpy(pad(rows)).unflatten(0, (len(items), self.draws))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        pixels = torch.from_numpy(self._take(items[mine]))
        of = len(items)
        if self.config.color_jitter:
            pixels = jitter(pixels, self.config.color_jitter, generator, mine, of)
        shown = augment(pixels, self._size_at(step), self.config.crop, self.flips, generator, mine, of)
        return Batch(shown, tokens[mine], items[mine], mine.start)

    def _mine(self) -> slice:
        """The rows of a batch that this process holds."""
        each = self.batch_size // self._processes
        return slice(self._process * each, (self._process + 1) * each)

    def _size_at(self, step: int) -> int:
        """Pixels of the crops: small ones first, where the run begins so."""
        small = step < self.config.small_share * self.steps
        return min(self.config.small_size, self._shown) if small else self._shown

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

    # ---------------------------------------------------------------- pixels

    def _decode_all(self, on_progress: Callable[[int, int], None]) -> np.ndarray | None:
        """All pictures as uint8 (n, s, s, 3), or None where that is more than pixel_cache_gb. Drops the undecodable."""
        size = len(self._items) * self._kept**2 * 3
        if size > self.config.pixel_cache_gb * 2**30:
            return None
        pixels = np.empty((len(self._items), self._kept, self._kept, 3), np.uint8)
        good = []
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
            return self._keep(images.load(item, at_least=2 * self._kept))
        except ImageError as error:
            return error

    def _take(self, items: np.ndarray) -> np.ndarray:
        if self._pixels is not None:
            return self._pixels[items]
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(self._decode, [self._items[i] for i in items]))
        for position, result in enumerate(results):
            if isinstance(result, ImageError):  # too many pictures to look at beforehand: it is shown as grey
                known = (self._items[items[position]].uri, str(result))
                if known not in self.skipped:
                    self.skipped.append(known)
                results[position] = np.full((self._kept, self._kept, 3), 127, np.uint8)
        return np.stack(results)


def augment(
    pixels: torch.Tensor, size: int, crop: float, flips: bool, generator: torch.Generator, part: slice = slice(None),
    of: int | None = None,
) -> torch.Tensor:  # fmt: skip
    """Random resized crops, mirrored half of the time. pixels uint8 (b, s, s, 3) to float (b, size, size, 3) in 0..255.

    crop: the smallest share of the area that is kept; the aspect varies by up to a sixth either way. The pixels may be
    a part of a batch of `of`: what is drawn for it is what would be drawn for the whole.
    """
    images = pixels.permute(0, 3, 1, 2).float()
    if crop >= 1 and not flips:
        return _resize(images, size).permute(0, 2, 3, 1)
    move = _crops(of or len(pixels), crop, flips, generator)[part]
    grid = F.affine_grid(move, [len(pixels), 3, size, size], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False).permute(0, 2, 3, 1)


def _crops(count: int, crop: float, flips: bool, generator: torch.Generator) -> torch.Tensor:
    """What is shown of each picture, as affine maps (count, 2, 3)."""
    area = crop + (1 - crop) * torch.rand(count, generator=generator)
    stretch = torch.exp((torch.rand(count, generator=generator) * 2 - 1) * (0.15 if crop < 1 else 0))
    width, height = (area * stretch).sqrt().clamp(max=1), (area / stretch).sqrt().clamp(max=1)
    right, down = ((torch.rand(count, generator=generator) * 2 - 1) * (1 - extent) for extent in (width, height))
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0) if flips else torch.ones(count)
    move = torch.zeros(count, 2, 3)
    move[:, 0, 0], move[:, 0, 2], move[:, 1, 1], move[:, 1, 2] = width * mirror, right, height, down
    return move


def jitter(
    pixels: torch.Tensor, amount: float, generator: torch.Generator, part: slice = slice(None), of: int | None = None
) -> torch.Tensor:
    """Change brightness, contrast and saturation of each picture by a factor of its own in 1 - amount .. 1 + amount.

    pixels (b, s, s, 3) in 0..255, uint8 or float; float in 0..255 comes back. part, of: as for `augment`.
    """

    def factors() -> torch.Tensor:
        return 1 + amount * (2 * torch.rand(of or len(pixels), 1, 1, 1, generator=generator)[part] - 1)

    shown = pixels.float() * factors()
    shown = torch.lerp(shown.mean((1, 2, 3), keepdim=True), shown, factors())  # towards the picture's mean
    shown = torch.lerp(shown.mean(3, keepdim=True), shown, factors())  # towards grey
    return shown.clamp_(0, 255)


def _resize(images: torch.Tensor, size: int) -> torch.Tensor:
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)


def speaks_of_sides(captions: dict[str, list[str]]) -> bool:
    """True where at least one caption in fifty says left or right: mirroring would make those false."""
    texts = [text for several in captions.values() for text in several]
    return sum(bool(_SIDES.search(text)) for text in texts) * 50 >= len(texts)


def _token_rows(tokenize: Callable, texts: Sequence[str]) -> list[list[int]]:
    return tokenize.rows(texts) if isinstance(tokenize, CaptionTokenizer) else tokenize(texts).tolist()


def _draw(rows: list[list[int]], count: int, rng: np.random.Generator) -> list[list[int]]:
    """`count` of a picture's captions in random order; where it has fewer, they come again."""
    order = rng.permutation(len(rows))
    return [rows[order[i % len(rows)]] for i in range(count)]


def _drop_words(row: list[int], share: float, rng: np.random.Generator) -> list[int]:
    """Leave out a share of the words that is drawn for each caption, from 0 to twice `share`: people type few words."""
    share *= 2 * rng.random()
    kept = [token for token, draw in zip(row, rng.random(len(row)), strict=True) if draw >= share]
    return kept or row
