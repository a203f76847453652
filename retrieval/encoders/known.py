"""What can be named: encoders behind --model, towers of packages behind --set; what is known of each is a row."""

from dataclasses import dataclass

from retrieval import packages
from retrieval.encoders import builtin, presets
from retrieval.encoders.presets import PRESETS, Preset
from retrieval.packages import PACKAGES, Package


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """An encoder of this project's own making. packages: whose weights it is made of, by their short names.

    figure: what was measured of it here, in a few characters, as in "Flickr8k R@10 25 / 25".
    """

    name: str
    packages: tuple[str, ...]
    figure: str


OWN: dict[str, Own] = {
    own.name: own for own in (Own(name=builtin.NAME, packages=builtin.PARTS, figure="Flickr8k R@10 30.3 / 33.2"),)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One row. kind: "preset", "own" or "tower". typed: what is written to have it, as in "text_tower=package:use".

    megabytes: of the download. languages: codes, or "many". here: need nothing more be fetched? had: how it is. figure:
    how good it is, "" where nobody said; measured: it was found out here, not published by others.
    """

    name: str
    kind: str
    typed: str
    license: str
    megabytes: int
    languages: tuple[str, ...]
    here: bool
    had: str
    figure: str = ""
    measured: bool = False


def known() -> list[Known]:
    """All rows: presets, encoders of our own, towers of packages."""
    downloads = presets.downloads()
    own = [_own(one) for one in OWN.values()]
    return [
        *(_preset(one, one.name in downloads) for one in PRESETS.values()), *own, *map(_tower, PACKAGES.values()),
    ]  # fmt: skip


def _preset(preset: Preset, here: bool) -> Known:
    recall = f"COCO R@1 {preset.text_to_image:.1f} / {preset.image_to_text:.1f}"
    return Known(
        name=preset.name, kind="preset", typed=preset.model, license=preset.license, megabytes=preset.megabytes,
        languages=preset.languages, here=here, had="fetched when it is first named", figure=recall,
    )  # fmt: skip


def _own(own: Own) -> Known:
    parts = [PACKAGES[name] for name in own.packages]
    lacking = [part for part in parts if not packages.is_installed(part)]
    return Known(
        name=own.name, kind="own", typed=own.name, license=", ".join(sorted({part.license for part in parts})),
        megabytes=sum(part.megabytes for part in parts), languages=_languages(parts), here=not lacking,
        had="; ".join(packages.way_on(part) for part in lacking or parts), figure=own.figure, measured=True,
    )  # fmt: skip


def _tower(package: Package) -> Known:
    name = f"package:{package.name}"
    side = "text_tower" if package.languages else "image_tower"
    return Known(
        name=name, kind="tower", typed=f"{side}={name}", license=package.license, megabytes=package.megabytes,
        languages=package.languages, here=packages.is_installed(package), had=packages.way_on(package),
        figure=package.figure,
    )  # fmt: skip


def _languages(parts: list[Package]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(language for part in parts for language in part.languages))
