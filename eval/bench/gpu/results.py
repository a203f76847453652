"""results.json and report.md: what is known after each part, whole at any time."""

import importlib.metadata
import importlib.util
import json
import platform
from pathlib import Path
from typing import Any

import torch

from eval.bench.gpu.parts import PARTS
from eval.bench.gpu.place import Figure, plain
from eval.bench.gpu.running import Result
from indexes import durable

FORMAT = 1
VERSIONS = ("torch", "timm", "numpy", "pyarrow", "safetensors", "tokenizers", "Pillow")
MODULES = ("faiss", "open_clip", "datasets", "typer", "msgspec", "onnxruntime", "numkong")  # that may be missing


def machine(device: str) -> dict[str, Any]:
    """The device, and what is installed."""
    return {
        "device": _device(device),
        "python": platform.python_version(),
        "cuda": torch.version.cuda if device == "cuda" else None,
        "versions": {name: _version(name) for name in VERSIONS},
        "missing": [name for name in MODULES if not importlib.util.find_spec(name)],
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device(device: str) -> dict[str, Any]:
    if device == "cpu":
        return {"kind": "cpu", "name": platform.processor() or platform.machine(), "gib": None}
    facts = torch.cuda.get_device_properties(0)
    return {"kind": "cuda", "name": facts.name, "gib": round(facts.total_memory / 2**30, 1)}


def write(folder: Path, about: dict[str, Any], results: dict[str, Result], seconds: float) -> None:
    """Both files, each whole or as it was."""
    document = {"format": FORMAT, **about, "seconds": round(seconds, 1), "parts": _parts(results)}
    durable.write_bytes(folder / "results.json", json.dumps(document, indent=2, allow_nan=False).encode())
    durable.write_bytes(folder / "report.md", page(document).encode())


def _parts(results: dict[str, Result]) -> list[dict[str, Any]]:
    return [
        {
            "name": name, "what": PARTS[name].what, "status": result.ending.status, "reason": result.ending.reason,
            "seconds": round(result.seconds, 1), "most_seconds": PARTS[name].seconds,
            "figures": [as_json(figure) for figure in result.figures],
        }
        for name, result in results.items()
    ]  # fmt: skip


def as_json(figure: Figure) -> dict[str, Any]:
    """A figure; what is no number is null."""
    return figure._asdict() | {"value": plain(figure.value)}


def page(document: dict[str, Any]) -> str:
    """The document to be read."""
    device, versions = document["device"], document["versions"]
    memory = f", {device['gib']} GiB" if device["gib"] else ""
    dry = "**A dry run on the CPU, at tiny sizes: the figures mean nothing.**\n\n" if device["kind"] == "cpu" else ""
    lines = [
        f"# CUDA paths on {device['name']}{memory}\n",
        f"{dry}{document['seconds']:g} s of {document['deadline']:g}. Python {document['python']}, CUDA "
        f"{document['cuda']}, {', '.join(f'{name} {version}' for name, version in versions.items())}. "
        f"Not installed: {', '.join(document['missing']) or 'nothing that is asked for'}.\n",
        *_table(("part", "", "seconds", "reason"), [
            (part["name"], part["status"], f"{part['seconds']:g}", part["reason"]) for part in document["parts"]
        ]),
    ]  # fmt: skip
    for part in document["parts"]:
        if part["figures"]:
            lines += [
                f"## {part['name']}\n",
                f"{part['what'][0].upper()}{part['what'][1:]}.\n",
                *_table(("figure", "", ""), map(_row, part["figures"])),
            ]
    return "\n".join(lines)


def _row(figure: dict[str, Any]) -> tuple[str, str, str]:
    value = "-" if figure["value"] is None else f"{figure['value']:,.6g}"
    bound = "" if figure["most"] is None else f"at most {figure['most']:.2g}"
    return figure["name"], f"{value} {figure['unit']}".strip(), ", ".join(filter(None, (figure["note"], bound)))


def _table(head: tuple[str, ...], rows: Any) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines] + [""]
