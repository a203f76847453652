"""The command: all parts one after the other, until the deadline."""

import argparse
import json
import multiprocessing
import sys
import time
from pathlib import Path

import torch

from eval.bench import note, say
from eval.bench.gpu import results, running
from eval.bench.gpu.parts import PARTS
from eval.bench.gpu.place import Figure

FAILED = 5
# Once, for all processes: seconds for each of them. None of these may ask the device, which a fork could not use then.
PRELOADED = ["torch", "timm", "torch.utils.flop_counter", "torch._dynamo"]


def main() -> int:
    """Run what is asked for. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eval.bench.gpu", description="Every CUDA path in one command.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for results.json and report.md")
    parser.add_argument("--dry", action="store_true", help="on the CPU, at tiny sizes")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--seconds", type=float, default=450.0, help="the deadline of the whole (450)")
    args = parser.parse_args()
    if not args.dry and not torch.cuda.is_available():
        parser.error("no CUDA device is available here: run it where there is one, or add --dry")
    args.out.mkdir(parents=True, exist_ok=True)
    return _run(args.out, "cpu" if args.dry else "cuda", args.only, args.seconds)


def _run(out: Path, device: str, names: list[str], deadline: float) -> int:
    started = time.monotonic()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    about = {"deadline": deadline, **results.machine(device)}
    done = {name: running.Result() for name in names}
    for name in names:
        left = deadline - (time.monotonic() - started)
        done[name] = running.run(PARTS[name], device, context, left, lambda figure: _say(name, figure))  # noqa: B023
        ending = done[name].ending
        note(f"{name}: {ending.status}, {done[name].seconds:.1f} s" + (f" ({ending.reason})" if ending.reason else ""))
        results.write(out, about, done, time.monotonic() - started)
    note(str(out / "report.md"))
    return FAILED if any(result.ending.status == "failed" for result in done.values()) else 0


def _say(part: str, figure: Figure) -> None:
    say(json.dumps({"part": part, **results.as_json(figure)}))


if __name__ == "__main__":
    sys.exit(main())
