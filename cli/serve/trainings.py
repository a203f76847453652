"""/api/runs and /api/reports: how trainings go, and how good what came of them is."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from cli.serve import parts
from cli.serve.reply import reply
from indexes import typed
from retrieval.errors import BadRequest
from retrieval.training import log

_PLAIN = str | int | float | bool

router = APIRouter(prefix="/api", tags=["training"])


@router.get("/runs/{name}")
async def run(name: str, request: Request) -> Response:
    """What a run that is served has logged so far, its evaluations, its settings."""
    server = parts.of(request)
    if name not in server.runs:
        raise BadRequest(f"no run {name[:60]} is served: start with --run RUN")
    return reply(await run_in_threadpool(_logged, server.runs[name]))


def _logged(folder: Path) -> dict[str, Any]:
    lines = log.read(folder)
    steps = [{key: value for key, value in line.items() if key != "metrics"} for line in lines]
    evals = [{"step": line["step"], **line["metrics"]} for line in lines if isinstance(line.get("metrics"), dict)]
    return {
        "steps": steps, "evals": evals, "done": (folder / "encoder.json").is_file(),
        "settings": {key: value for key, value in _settings(folder).items() if isinstance(value, _PLAIN)},
    }  # fmt: skip


def _settings(folder: Path) -> dict[str, Any]:
    config = folder / "config.json"
    try:
        return typed.read(config, dict[str, Any]) if config.is_file() else {}
    except typed.Malformed as error:
        raise BadRequest(f"{config} is damaged ({error}): begin the run anew, or serve another") from error


@router.get("/reports")
async def reports(request: Request) -> Response:
    """The reports that are served: names, and kinds: of retrieval, of a head."""
    server = parts.of(request)
    return reply({"reports": await run_in_threadpool(server.reports.listed)})


@router.get("/reports/{name}")
async def report(name: str, request: Request) -> Response:
    """What `mmr eval --json` or `mmr head eval --json` wrote into a file: all its lines, as they are now."""
    server = parts.of(request)
    return reply({"name": name, "reports": await run_in_threadpool(server.reports.get, name)})
