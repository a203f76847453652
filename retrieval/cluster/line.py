"""The line of many machines: blocks of items go to workers wherever there are some, and come back in their order.

A worker that dies costs the blocks that it held, which others make again: nothing is committed but by the command that
runs the line. A block that kills worker after worker is halved, until the picture that does it is alone and is skipped.
How many blocks are under way is bounded, and so is memory.
"""

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from retrieval.cluster.staff import Block, Staff
from retrieval.datatypes import Item
from retrieval.indexing.line import Made

PICTURES = 256  # of a block: what the death of a worker costs
AHEAD = 4  # blocks for each worker that were begun and not yet given
DEATHS = 3  # of workers over one block
FATAL = f"{DEATHS} workers died over it: it takes more memory than there is, or breaks what decodes it"


class Everywhere:
    """A line (indexing/line.py) over all machines of a cluster.

    Args:
        staff: Its workers, with their encoder loaded.
        together: Pictures that they encode together.
    """

    def __init__(self, staff: Staff, together: int) -> None:
        self._staff, self.together = staff, together

    def __call__(self, items: Sequence[Item], ocr: bool = False) -> Iterator[Made]:
        """Rows of the items, a block at a time, in their order.

        Raises:
            BadRequest: No machine was left to work for two minutes.
        """
        size = self._size(len(items))
        rest = (Block(items[start : start + size], ocr=ocr) for start in range(0, len(items), size))
        order: deque[Block] = deque()  # begun, and not yet given
        waiting: deque[Block] = deque()  # for a worker
        following = next(rest, None)
        while following or order:
            while following and not waiting and len(order) < AHEAD * len(self._staff):
                order.append(following)
                waiting.append(following)
                following = next(rest, None)
                self._hand_out(waiting)
            self._hand_out(waiting)
            for block in self._staff.hear():
                if block.made is None:
                    waiting.extendleft(reversed(_again(block, order)))
            self._staff.look()
            while order and (made := order[0].made):
                order.popleft()
                yield made

    def _hand_out(self, waiting: deque[Block]) -> None:
        while waiting and self._staff.give(waiting[0]):
            waiting.popleft()

    def _size(self, items: int) -> int:
        """Of a block: several for each worker where there are few items, and whole batches."""
        fair = min(PICTURES, -(-items // (AHEAD * max(1, len(self._staff)))))
        return max(1, -(-fair // self.together)) * self.together


def _again(block: Block, order: deque[Block]) -> list[Block]:
    """What is to be made in place of a block whose worker died; `order` then has it where the block was."""
    if block.deaths < DEATHS:
        return [block]
    if len(block.items) == 1:
        block.made = Made([], np.empty((0, 0), np.float32), [], [(block.items[0].uri, FATAL)])
        return []
    half = len(block.items) // 2
    parts = [Block(part, DEATHS - 1, ocr=block.ocr) for part in (block.items[:half], block.items[half:])]
    at = order.index(block)
    del order[at]
    for part in reversed(parts):
        order.insert(at, part)
    return parts
