"""Photos a second of a whole `mmr index`, beside rclip and clip-retrieval on the same files with the same weights.

    python -m eval.bench.indexing --photos FOLDER      # without --photos: drawn ones of the same size
    python -m eval.bench.indexing photos --quick       # 200 photos: does everything run?

`photos`        2,000 photos of about 0.2 MP, the whole process; beside the better of the two
`photos-12mp`   400 photos of 4000 x 3000
`steady`        photos a second once the process runs, over those of the bare encoder on pictures already decoded

Everyone has the same random weights of ViT-B-32-256, as no hub is needed for those: time does not depend on what they
are. They are made once, in `bench` of mmr's cache. rclip finds them as the ONNX files that it would have downloaded,
exported the way its own are. Each process is held to the same two cores; floor and goal are those of the processor
(`bounds`). Each tool has indexed photos before, so what they make once is not counted: mmr exports its encoder, tries
its engines and compares int8 with float32. rclip has no way to index without a query: what its query takes is taken
off. clip-retrieval writes vectors only, no index: nothing is added for that.
"""

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from eval.bench import figure, note, peers_python, say
from indexes import Store, cpu
from retrieval import cache

if TYPE_CHECKING:
    import torch

NAME, THREADS = "ViT-B-32-256", 2
FIGURES = {"photos": (2000, 200, None), "photos-12mp": (400, 20, (4000, 3000))}
LARGE = (1.5, 3)  # floor and goal of `photos-12mp`, where decoding is most of the work
DRAWN, FIRST = 120, 300  # photos; FIRST: that mmr has indexed before, 256 of which decide about int8
_RCLIP_MODEL = "ViT-B-32-256-datacomp_s34b_b86k"  # the folder where rclip looks for its only model
_RCLIP_PAPERS = ("LICENSE", "OPENAI-CLIP-MIT.txt", "README.md", "THIRD_PARTY_NOTICES.md")  # without them it downloads
_ROOT = Path(__file__).parents[2]
FIXED = {"OMP_NUM_THREADS": str(THREADS), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}  # of every process


# ---------------------------------------------------------------- processes


class Finished(NamedTuple):
    """A whole process. peak: MB that the largest process of it held at once."""

    seconds: float
    peak: float
    stdout: str


# A process begins with the peak of the one that starts it, so a small one is in between; it holds it to few cores too.
_LAUNCHER = """
import json, os, sys, time
out, err, cores, *command = sys.argv[1:]
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
files = [(os.POSIX_SPAWN_OPEN, number, path, os.O_WRONLY | os.O_CREAT, 0o600) for number, path in ((1, out), (2, err))]
started = time.perf_counter()
_, status, usage = os.wait4(os.posix_spawn(command[0], command, os.environ, file_actions=files), 0)
print(json.dumps([time.perf_counter() - started, usage.ru_maxrss, os.waitstatus_to_exitcode(status)]))
"""


def run(command: list[str], folder: Path, **settings: str) -> Finished:
    """Run a command to its end in a folder: THREADS cores, offline, no GPU. Ends the benchmark if it fails.

    settings: further environment variables.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | FIXED | settings
    with tempfile.TemporaryDirectory() as logs:
        out, err = Path(logs) / "out", Path(logs) / "err"
        launcher = [sys.executable, "-I", "-c", _LAUNCHER, str(out), str(err), str(THREADS), *command]
        shown = subprocess.run(
            launcher, cwd=folder, env=environment, stdout=subprocess.PIPE, encoding="utf-8", check=True
        )
        seconds, peak, code = json.loads(shown.stdout)
        if code:
            sys.exit(f"{' '.join(command)} failed ({code}):\n{err.read_text('utf-8', 'replace')[-2000:]}")
        return Finished(seconds, peak / (1024 if sys.platform == "linux" else 1024**2), out.read_text("utf-8"))


def own_environment() -> dict[str, str]:
    """Of a process of ours: with a cache that is the benchmark's own."""
    return os.environ | FIXED | {"PYTHONPATH": str(_ROOT), "MMR_CACHE": str(_cache() / "mmr")}


def in_ours(module: str, *arguments: str) -> Finished:
    """A module of ours, with a cache that is the benchmark's own."""
    command = [sys.executable, "-m", module, *arguments]
    return run(command, Path.cwd(), PYTHONPATH=str(_ROOT), MMR_CACHE=str(_cache() / "mmr"))


def mmr(*arguments: str) -> Finished:
    """Our command line, whole process."""
    return in_ours("cli.main", *arguments)


def peer(name: str, program: str) -> str:
    """A program of a peer's own environment, which lies in the folder of `peers_python`'s (see the Makefile)."""
    found = Path(peers_python()).absolute().parent.parent / name / "bin" / program
    if not found.exists():
        sys.exit(f"no {name} at {found}: run `make bench`")
    return str(found)


# ---------------------------------------------------------------- the weights


def _cache() -> Path:
    return cache.folder().absolute() / "bench"


def models() -> Path:
    """The folder with NAME.safetensors and, in rclip/, the same as rclip wants it. Made if it is not there."""
    folder = _cache() / NAME
    if not folder.exists():
        note(f"making random weights in {folder}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".partial-"))
        try:
            _make_models(beside)
            beside.rename(folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return folder


def _make_models(folder: Path) -> None:
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.create_model(NAME).eval()
    save_file(model.state_dict(), folder / f"{NAME}.safetensors")

    class TextSide(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.model.encode_text(tokens)

    home = folder / "rclip"
    (home / _RCLIP_MODEL).mkdir(parents=True)
    size = model.visual.image_size[0]
    _export(model.visual, torch.zeros(1, 3, size, size), home / _RCLIP_MODEL / "visual.onnx")
    _export(
        TextSide().eval(), torch.zeros(1, model.context_length, dtype=torch.int64), home / _RCLIP_MODEL / "textual.onnx"
    )
    (home / "tokenizer").mkdir()
    shutil.copy(Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz", home / "tokenizer")


def _export(module: "torch.nn.Module", example: "torch.Tensor", file: Path) -> None:
    """As rclip's own files are exported: float32, opset 18, any batch, the names `input` and `output`."""
    import torch

    axes = {"input": {0: "batch"}, "output": {0: "batch"}}
    torch.onnx.export(
        module, (example,), str(file), input_names=["input"], output_names=["output"], dynamic_axes=axes,
        opset_version=18, dynamo=False,
    )  # fmt: skip


def model_name() -> str:
    """The weights as `mmr --model` and clip-retrieval's --clip_model name them."""
    return f"open_clip:{NAME}/{models() / NAME}.safetensors"


def rclip_home(folder: Path) -> Path:
    """A new RCLIP_DATADIR in `folder`: the models and no pictures."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for part in (models() / "rclip").iterdir():
        (folder / part.name).symlink_to(part)
    for name in _RCLIP_PAPERS:
        (folder / name).touch()
    return folder


# ---------------------------------------------------------------- the photos


def make_photos(folder: Path, count: int, source: Path | None, size: tuple[int, int] | None) -> Path:
    """`count` JPEG files, no two alike: the pictures of `source`, or drawn ones, each cropped by some pixels more.

    size: to enlarge them to. Quality 90.
    """
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg")) if source else []
    if source and not files:
        sys.exit(f"no JPEG files in {source}: give another --photos")
    folder.mkdir()

    def make(number: int) -> None:
        turn, which = divmod(number, len(files) or DRAWN)
        picture = Image.open(files[which]).convert("RGB") if files else _draw(which)
        picture = picture.crop((turn, turn, *picture.size))
        if size:
            picture = ImageOps.fit(picture, size, Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:05d}.jpg", quality=90)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(make, range(count)))
    return folder


def _draw(seed: int) -> Image.Image:
    """Smooth colors, a few shapes and some grain, 500 x 400."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (10, 12, 3), np.uint8))
    picture = coarse.resize((500, 400), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for _ in range(12):
        x, y, w, h = random.integers(0, (500, 400, 150, 150)).tolist()
        shape = draw.ellipse if random.random() < 0.5 else draw.rectangle
        shape((x, y, x + w, y + h), fill=tuple(random.integers(0, 256, 3).tolist()))
    grain = random.normal(0, 6, (400, 500, 1))
    return Image.fromarray((np.asarray(picture) + grain).clip(0, 255).astype(np.uint8))


# ---------------------------------------------------------------- the tools: (photos, an empty folder) -> seconds, peak


def ours(photos: Path, folder: Path) -> tuple[int, Finished]:
    """`mmr index`; the pictures that it indexed, and the process."""
    done = mmr("index", str(photos), "--index", str(folder / "index"), "--model", model_name())
    with Store.open(folder / "index") as store:
        return len(store), done


def rclip(photos: Path, folder: Path) -> tuple[int, Finished]:
    """Its index and its query in one, less the query alone."""
    program, home = peer("rclip", "rclip"), rclip_home(folder / "home")
    done = run([program, "a dog"], photos, RCLIP_DATADIR=str(home))
    query = run([program, "--no-indexing", "a dog"], photos, RCLIP_DATADIR=str(home))
    connection = sqlite3.connect(home / "db.sqlite3")
    (count,) = connection.execute("SELECT count(*) FROM images WHERE deleted IS NULL").fetchone()
    connection.close()
    return count, done._replace(seconds=done.seconds - query.seconds)


def clip_retrieval(photos: Path, folder: Path) -> tuple[int, Finished]:
    """`clip-retrieval inference`. Small batches: before it begins it tries two of each kind."""
    command = [
        peer("clip-retrieval", "clip-retrieval"), "inference", "--input_dataset", str(photos), "--output_folder",
        str(folder / "out"), "--clip_model", model_name(), "--enable_text", "False", "--batch_size", "16",
        "--num_prepro_workers", "2",
    ]  # fmt: skip
    done = run(command, photos)
    return sum(len(np.load(file, mmap_mode="r")) for file in (folder / "out" / "img_emb").glob("*.npy")), done


PEERS = {"rclip": rclip, "clip-retrieval": clip_retrieval}
Tool = Callable[[Path, Path], tuple[int, Finished]]


def rate(name: str, tool: Tool, photos: Path, count: int) -> float:
    """Photos a second of one whole process. Ends the benchmark where it did not index all of them."""
    with tempfile.TemporaryDirectory() as folder:
        indexed, done = tool(photos, Path(folder))
    if indexed != count:
        sys.exit(f"{name} indexed {indexed} of {count} photos")
    note(f"{name}: {count} photos in {done.seconds:.1f} s, peak {done.peak:.0f} MB")
    return count / done.seconds


def bounds(name: str) -> tuple[float, float]:
    """The floor and the goal of a figure, by what this processor multiplies fast."""
    if name != "photos":
        return LARGE
    if "amx_bf16" in cpu.flags():
        return 3, 4.5
    return (2.5, 4) if cpu.has_vnni() or cpu.has_fast_bf16() else (1.5, 2)


def compare(name: str, photos: Path, count: int, rounds: int, peers: dict[str, Tool]) -> None:
    """The figure: ours before and after each peer, in turns."""
    mine: list[float] = []
    theirs: dict[str, list[float]] = {peer_name: [] for peer_name in peers}
    for _ in range(rounds):
        for peer_name, tool in peers.items():
            mine.append(rate("mmr", ours, photos, count))
            theirs[peer_name].append(rate(peer_name, tool, photos, count))
    mine.append(rate("mmr", ours, photos, count))
    best = max(theirs, key=lambda peer_name: np.median(theirs[peer_name]))
    figure(name, mine, theirs[best], best, *bounds(name))


def steady(photos: Path, model: str, rounds: int = 3) -> dict[str, list[float]]:
    """Photos a second between the first and the last batch of an index, and of the encoder alone, in turns."""
    from retrieval import Retriever, load_encoder

    encoder = load_encoder(model).to_fast_precision()
    files = sorted(photos.iterdir())[:256]
    pixels = [encoder.preprocess(Image.open(file).convert("RGB")) for file in files]
    encoder.encode_images(pixels[:64])
    rates: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(rounds):
        started = time.perf_counter()
        encoder.encode_images(pixels)
        rates["bare"].append(len(pixels) / (time.perf_counter() - started))
        marks: list[tuple[float, int]] = []
        with tempfile.TemporaryDirectory() as folder:
            mark = partial(_mark, marks)
            Retriever.build(str(photos), Path(folder) / "index", encoder, on_progress=mark)[0].close()
        (begun, first), (ended, last) = marks[0], marks[-1]
        rates["ours"].append((last - first) / (ended - begun))
    return rates


def _mark(marks: list[tuple[float, int]], done: int, total: int) -> None:
    marks.append((time.perf_counter(), done))


def main() -> None:
    """The figures; or, with --steady, the rates of the steady state for one folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join([*FIGURES, 'steady'])}; all, if none is given")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="of JPEG files of about 0.2 MP")
    parser.add_argument("--rounds", type=int, default=1, help="of the peers; ours runs twice as often, and once more")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--steady", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.steady:
        say(json.dumps(steady(asked.steady, asked.model)))
        return
    names = asked.names or [*FIGURES, "steady"]
    if unknown := set(names) - {*FIGURES, "steady"}:
        parser.error(f"no figure {', '.join(unknown)}")
    with tempfile.TemporaryDirectory() as folder:
        peers: dict[str, Tool] = {peer_name: PEERS[peer_name] for peer_name in asked.peers}
        note(cpu.processor())
        rate("mmr, first time", ours, make_photos(Path(folder) / "first", FIRST, asked.photos, None), FIRST)
        few = make_photos(Path(folder) / "few", 8, asked.photos, None)
        for peer_name, tool in peers.items():
            rate(f"{peer_name}, first time", tool, few, 8)
        for name in names:
            count, quick, size = FIGURES.get(name, FIGURES["photos"])
            count = quick if asked.quick else count
            photos = make_photos(Path(folder) / name, count, asked.photos, size)
            if name == "steady":
                measure_steady(photos)
            else:
                compare(name, photos, count, asked.rounds, peers)
            shutil.rmtree(photos)


def measure_steady(photos: Path) -> None:
    """The figure `steady`, in a process like the others."""
    rates = json.loads(in_ours("eval.bench.indexing", "--steady", str(photos), "--model", model_name()).stdout)
    figure("steady", rates["ours"], rates["bare"], "the bare encoder", 0.8, 0.8)


if __name__ == "__main__":
    main()
