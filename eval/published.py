"""What others have published of known encoders on the protocols of protocols.py: recall in percent, with its source.

Each line: encoder | text to image, recall@1 5 10 | image to text, recall@1 5 10 | source. A dash: not published there.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from eval.metrics import HITS

_OPEN_CLIP = "open_clip docs/openclip_retrieval_results.csv (2023-11)"
_MOBILE = "apple/ml-mobileclip results/*.jsonl"
_SIGLIP2 = "big_vision README_siglip2"
_PE = "facebookresearch/perception_models README"
_VSE, _VSE_TORCH = "ryankiros/visual-semantic-embedding README", "linxd5/VSE_Pytorch README"
_INFTY, _PCME = "woodfrog/vse_infty README", "naver-ai/pcme README"

# protocol -> (source, lines), ...
_TABLES: dict[str, tuple[tuple[str, str], ...]] = {
    "flickr8k": (
        (_VSE, """
            VSE, VGG19 frozen + LSTM (the paper)           | 12.5 37.0 51.5 | 18.0 40.9 55.0
            VSE, VGG19 frozen + LSTM (the author's code)   | 14.9 38.3 51.6 | 22.3 48.7 59.8"""),
        (_VSE_TORCH, """
            VSE, VGG19 frozen + LSTM (in PyTorch)          | 16.9 41.8 54.4 | 23.9 49.1 61.3"""),
    ),
    "flickr30k": (
        (_OPEN_CLIP, """
            RN50 openai                                    | 57.4 83.2 90.0 | 80.0 95.0 97.9
            ViT-B-32 openai                                | 58.8 83.6 90.0 | 78.9 94.9 98.2
            ViT-B-16 openai                                | 62.2 85.7 91.9 | 82.2 96.6 99.0
            ViT-L-14 openai                                | 65.0 87.2 92.0 | 85.2 97.4 99.2
            ViT-L-14-336 openai                            | 66.9 89.0 93.3 | 87.7 98.5 99.4
            ViT-B-32 laion2b_s34b_b79k                     | 66.8 88.4 93.1 | 84.1 96.2 98.3
            ViT-B-16 laion2b_s34b_b88k                     | 69.8 90.4 94.6 | 86.3 97.9 99.4
            ViT-B-16 datacomp_xl_s13b_b90k                 | 67.6 88.3 93.0 | 85.1 97.2 98.4
            ViT-L-14 laion2b_s32b_b82k                     | 75.5 92.9 95.9 | 89.5 98.7 99.4
            ViT-L-14 datacomp_xl_s13b_b90k                 | 73.4 91.7 95.5 | 89.0 98.6 99.7
            ViT-H-14 laion2b_s32b_b79k                     | 77.6 94.2 96.6 | 90.7 99.2 99.7
            ViT-bigG-14 laion2b_s39b_b160k                 | 79.6 95.0 97.1 | 92.9 99.3 99.8
            convnext_large_d_320 ft_soup                   | 77.0 93.9 96.5 | 92.3 98.9 99.8
            EVA02-L-14-336                                 | 78.0 94.3 96.8 | 89.6 98.9 99.6
            ViT-B-16 metaclip_fullcc                       | 70.7 90.8 94.5 | 85.5 97.4 98.9
            ViT-B-16 dfn2b                                 | 69.1 89.8 94.1 | 85.4 97.8 98.6
            ViT-B-16-SigLIP webli                          | 74.7 92.3 95.6 | 89.1 98.0 99.3
            ViT-SO400M-14-SigLIP-384 webli                 | 83.0 96.1 98.0 | 94.3 99.7 99.8
            ViT-H-14-378 dfn5b                             | 82.0 96.0 98.0 | 94.0 99.2 99.6
            coca_ViT-L-14 mscoco_finetuned                 | 78.5 94.5 97.1 | 89.0 98.7 99.5
            RN50 from scratch on CC12M                     | 45.9 73.4 82.3 | 61.2 85.4 90.7
            RN50 from scratch on YFCC15M                   | 30.9 58.8 69.5 | 51.2 80.4 88.5
            ViT-B-32 datacomp_m, 128M pairs seen           | 18.1 40.4 51.9 | 26.7 52.0 63.2
            ViT-B-32 commonpool_s_clip, 12.8M pairs seen   | 2.9 9.4 14.5   | 4.0 13.7 20.7"""),
        (_MOBILE, """
            MobileCLIP-S0                                  | 67.7 88.8 93.3 | 85.9 97.1 98.8
            MobileCLIP-B                                   | 77.3 94.4 96.7 | 91.4 99.1 99.9
            MobileCLIP2-S0                                 | 69.2 89.9 94.0 | 86.6 97.2 98.9
            MobileCLIP2-S2                                 | 74.8 92.9 95.9 | 90.4 98.2 99.4
            MobileCLIP2-B                                  | 76.5 93.4 96.1 | 89.7 98.6 99.4
            MobileCLIP2-S4                                 | 78.0 94.3 96.9 | 92.4 98.7 99.4
            MobileCLIP2-L/14                               | 77.7 94.2 96.6 | 92.0 98.9 99.5"""),
        (_VSE, """
            VSE, VGG19 frozen + LSTM (the paper)           | 16.8 42.0 56.5 | 23.0 50.7 62.9
            VSE, VGG19 frozen + LSTM (the author's code)   | 22.0 47.9 59.3 | 29.8 58.4 70.5"""),
        (_VSE_TORCH, """
            VSE, VGG19 frozen + LSTM (in PyTorch)          | 21.5 48.0 59.0 | 29.0 57.7 67.3"""),
        ("arXiv 1707.05612", """
            VSE++, ResNet152 fine-tuned + GRU              | - - -          | 52.9 - -"""),
        (_INFTY, """
            VSE infinity, BERT + BUTD regions              | 61.4 85.9 -    | 81.7 95.4 -"""),
    ),
    "coco-5k": (
        (_OPEN_CLIP, """
            RN50 openai                                    | 28.5 52.9 64.6 | 48.8 72.8 82.1
            ViT-B-32 openai                                | 30.4 55.9 66.9 | 50.1 75.0 83.5
            ViT-B-16 openai                                | 33.1 58.4 69.0 | 52.4 76.7 84.6
            ViT-L-14 openai                                | 36.5 61.1 71.1 | 56.3 79.4 86.6
            ViT-L-14-336 openai                            | 37.1 61.6 71.5 | 57.9 81.2 87.9
            ViT-B-32 laion2b_s34b_b79k                     | 39.3 65.4 75.6 | 56.3 79.8 87.1
            ViT-B-16 laion2b_s34b_b88k                     | 42.3 67.7 77.1 | 59.4 81.8 88.6
            ViT-B-16 datacomp_xl_s13b_b90k                 | 40.2 66.0 75.6 | 57.4 80.9 88.3
            ViT-L-14 laion2b_s32b_b82k                     | 46.5 71.1 79.8 | 63.4 84.0 90.7
            ViT-L-14 datacomp_xl_s13b_b90k                 | 45.7 70.0 79.2 | 63.3 84.1 90.4
            ViT-H-14 laion2b_s32b_b79k                     | 49.5 73.4 81.5 | 65.9 86.1 91.9
            ViT-bigG-14 laion2b_s39b_b160k                 | 51.4 74.9 83.0 | 67.4 86.9 92.7
            convnext_large_d_320 ft_soup                   | 48.3 72.5 81.0 | 65.0 86.1 91.8
            EVA02-L-14-336                                 | 47.9 71.7 80.0 | 64.2 85.2 90.8
            ViT-B-16 metaclip_fullcc                       | 41.3 67.2 77.0 | 59.4 80.6 87.8
            ViT-B-16 dfn2b                                 | 43.4 69.2 78.8 | 60.4 83.1 89.5
            ViT-B-16-SigLIP webli                          | 47.8 72.4 81.0 | 65.7 85.4 91.3
            ViT-SO400M-14-SigLIP-384 webli                 | 54.2 76.8 84.2 | 72.4 90.0 94.5
            ViT-H-14-378 dfn5b                             | 55.6 79.2 86.3 | 71.9 90.5 95.0
            coca_ViT-L-14 mscoco_finetuned                 | 53.7 77.8 85.7 | 66.8 87.6 92.4
            RN50 from scratch on CC12M                     | 23.7 47.9 59.5 | 34.1 60.7 71.5"""),
        (_MOBILE, """
            MobileCLIP-S0                                  | 40.4 66.0 75.9 | 58.7 81.1 88.2
            MobileCLIP-B                                   | 50.6 74.9 82.9 | 68.8 88.3 92.9
            MobileCLIP2-S0                                 | 43.7 70.0 79.4 | 62.7 83.9 90.9
            MobileCLIP2-S2                                 | 48.8 73.8 82.4 | 66.7 86.8 92.3
            MobileCLIP2-B                                  | 49.9 74.8 83.3 | 67.5 87.1 92.4
            MobileCLIP2-S4                                 | 51.5 76.1 84.1 | 69.3 87.8 93.3
            MobileCLIP2-L/14                               | 51.6 76.1 84.1 | 69.0 87.9 93.0"""),
        (_SIGLIP2, """
            SigLIP 2 B/32-256                              | 47.2 - - | 63.7 - -
            SigLIP 2 B/16-224                              | 52.1 - - | 68.9 - -
            SigLIP 2 B/16-256                              | 53.2 - - | 69.7 - -
            SigLIP 2 B/16-512                              | 55.2 - - | 71.2 - -
            SigLIP 2 L/16-256                              | 54.7 - - | 71.5 - -
            SigLIP 2 L/16-512                              | 55.2 - - | 72.1 - -
            SigLIP 2 So400m/14-384                         | 55.8 - - | 71.7 - -
            SigLIP 2 So400m/16-384                         | 56.0 - - | 71.2 - -
            SigLIP 2 g-opt/16-384                          | 56.1 - - | 72.8 - -
            SigLIP 2 NaFlex B/16                           | 51.1 - - | 67.3 - -"""),
        (_PE, """
            PE-Core T16-384                                | 33.0 - - | - - -
            PE-Core S16-384                                | 42.6 - - | - - -
            PE-Core B16-224                                | 50.9 - - | - - -
            PE-Core L14-336                                | 57.1 - - | - - -
            PE-Core G14-448                                | 58.1 - - | - - -"""),
        ("big_vision README_lit coco_B16B", """
            LiT on MS-COCO alone, ViT-B/16 frozen + BERT   | 32.1 - - | 47.2 - -"""),
    ),
    "coco-1k": (
        (_VSE, """
            VSE, VGG19 frozen + LSTM (the author's code)   | 31.0 66.7 79.9 | 43.4 75.7 85.8"""),
        (_INFTY, """
            VSE infinity, BERT + BUTD regions              | 64.8 91.4 - | 79.7 96.4 -"""),
        (_PCME, """
            PCME, ResNet152 + GRU                          | 54.6 - - | 68.8 - -
            PVSE, ResNet152 + GRU                          | 53.5 - - | 66.7 - -"""),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """An encoder on a protocol.

    Attributes:
        encoder: Its name, and that of its weights.
        text_to_image: HITS -> the share, a fraction; what was not published is not there.
        image_to_text: The same.
        source: Who says so.
    """

    encoder: str
    text_to_image: dict[str, float]
    image_to_text: dict[str, float]
    source: str

    @property
    def first(self) -> float:
        """Its text-to-image hit@1, -1 where it is not known."""
        return self.text_to_image.get(HITS[0], -1.0)


@cache
def _read(name: str) -> tuple[Row, ...]:
    rows = [_row(line, source) for source, lines in _TABLES[name] for line in lines.strip().splitlines()]
    return tuple(sorted(rows, key=lambda row: -row.first))


def rows_of(name: str) -> list[Row]:
    """What is published on a protocol, the best text-to-image hit@1 first. Raises KeyError where there is none."""
    return list(_read(name))


def _row(line: str, source: str) -> Row:
    encoder, *ways = (part.strip() for part in line.split("|"))
    text_to_image, image_to_text = (_shares(way.split()) for way in ways)
    return Row(encoder, text_to_image, image_to_text, source)


def _shares(said: Iterable[str]) -> dict[str, float]:
    return {hit: float(one) / 100 for hit, one in zip(HITS, said, strict=True) if one != "-"}
