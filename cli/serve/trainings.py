"""/api/runs and /api/reports: how trainings go, and how good what came of them is."""

import json
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from cli.serve import parts
from cli.serve.reply import reply
from retrieval.errors import BadRequest
from retrieval.training import log

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
    evals = [{"step": line["step"], **line["metrics"]} for line in lines if line.get("metrics")]
    config = folder / "config.json"
    settings = json.loads(config.read_text("utf-8")) if config.is_file() else {}
    return {
        "steps": steps, "evals": evals, "done": (folder / "encoder.json").is_file(),
        "settings": {key: value for key, value in settings.items() if isinstance(value, str | int | float | bool)},
    }  # fmt: skip


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
