"""The command: `python -m eval.scale [--pictures N] [--json]`."""

import argparse
import dataclasses
import json
import re
import sys
from typing import NoReturn

from eval.scale import tables
from eval.scale.machines import ENCODERS, SERVER
from eval.scale.plan import Plan, plan

_MANY = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
MOST = 10**15  # pictures: what is more is a slip


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say it, and end with 2."""
        self.exit(2, f"eval.scale: {message}: see `python -m eval.scale --help`\n")


def pictures(text: str) -> int:
    """So many pictures: 1000000, 1M, 2.5B. Raises ArgumentTypeError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kmb]?)", text.strip().replace(",", "").lower())
    many = float(found[1]) * _MANY[found[2]] if found else 0
    if not 1 <= many <= MOST:
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        raise argparse.ArgumentTypeError(f"`{shown}` is no number of pictures: give one such as 100M")
    return int(many)


def positive(text: str) -> float:
    """A number above 0. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"`{text}` is no number above 0")
    return value


def replicas(text: str) -> int:
    """How many replicas, from 1 to 1,000. Raises ArgumentTypeError."""
    if not (re.fullmatch(r"\d{1,4}", text) and 1 <= int(text) <= 1000):
        raise argparse.ArgumentTypeError(f"`{text}` is no number of replicas: give one from 1 to 1000")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = _Parser(prog="python -m eval.scale", description="Machines, hours, bytes and money for so many pictures.")
    made.add_argument("--pictures", type=pictures, help="how many, as 250M; all sizes of docs/scale.md if not given")
    made.add_argument("--encoder", choices=list(ENCODERS), help="what encodes them")
    made.add_argument("--replicas", type=replicas, default=1, help="how often each shard is held")
    made.add_argument("--exact", action="store_true", help="answer from all rows, without an approximate index")
    made.add_argument("--server-price", type=positive, help="dollars an hour of a machine that answers")
    made.add_argument("--server-memory", type=positive, help="its memory, in GB")
    made.add_argument("--server-disk", type=positive, help="its disk, in TB")
    made.add_argument("--encoding-price", type=positive, help="dollars an hour of a machine that encodes")
    made.add_argument("--json", action="store_true", help="one object a size")
    return made


def asked_for(options: argparse.Namespace, count: int) -> Plan:
    """The plan that the options ask for."""
    changed = {"price": options.server_price, "memory": options.server_memory, "disk": options.server_disk}
    units = {"price": 1.0, "memory": 1e9, "disk": 1e12}
    own = {name: value * units[name] for name, value in changed.items() if value}
    encoder = ENCODERS[options.encoder] if options.encoder else None
    found = plan(count, encoder, options.replicas, options.exact, dataclasses.replace(SERVER, **own) if own else None)
    if options.encoding_price:
        on = dataclasses.replace(found.encoder.on, price=options.encoding_price)
        found = dataclasses.replace(found, encoder=dataclasses.replace(found.encoder, on=on))
    return found


def main(words: list[str] | None = None) -> None:
    """Print the tables, or objects."""
    asked = parser()
    options = asked.parse_args(words)
    try:
        plans = [asked_for(options, each) for each in ((options.pictures,) if options.pictures else tables.SIZES)]
    except ValueError as error:
        asked.error(str(error))
    if options.json:
        told = "".join(json.dumps(each.to_json()) + "\n" for each in plans)
    else:
        rest = () if options.pictures else tuple(tables.MADE)[1:]
        told = "\n".join([tables.sizes(plans), *(tables.MADE[name]() for name in rest)])
    sys.stdout.write(told)


if __name__ == "__main__":
    main()
