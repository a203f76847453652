"""Pictures that tests judge."""

from pathlib import Path

from retrieval import Retriever
from toy import ToyEncoder, picture


def from_red(root: Path) -> Path:
    """Make ten pictures from red to blue, five from red to green, and their index; the folder."""
    for number in range(10):
        picture(root / f"b{number}.png", (255 - 20 * number, 0, 20 * number))
    for number in range(1, 6):
        picture(root / f"g{number}.png", (255 - 20 * number, 20 * number, 0))
    Retriever.build(str(root), root / ".mmr", ToyEncoder())[0].close()
    return root
