"""/healthz, /readyz, /metrics: does the server live, can it answer, how long does it take (Prometheus)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from cli.serve import parts
from cli.serve.reply import reply

# Of a request to clip-retrieval's routes, under its names: what watches clip-retrieval can watch this.
STEPS = {
    "full_knn_request_time": "Time spent processing knn request",
    "image_clip_inference_time": "Time spent decoding and encoding an image",
    "knn_index_time": "Time spent encoding a text and doing a knn on the index",
    "metadata_get_time": "Time spent retrieving metadata",
    "dedup_time": "Time spent deduping",
}
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> Response:
    """The process answers."""
    return reply({"alive": True})


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """Every index can be asked; 503 with the reasons where one cannot."""
    server = parts.of(request)
    problems = {shelf.name: server.told(shelf.problem) for shelf in server.shelves if shelf.problem}
    return reply({"ready": not problems, "problems": problems}, 503 if problems else 200)


@router.get("/metrics", responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Counters and times in Prometheus's text form."""
    watch: Watch = request.app.state.watch
    return Response(watch.told(parts.of(request)), media_type=CONTENT_TYPE_LATEST)


class _Average(NamedTuple):
    """How often a step was done, and how many seconds it took."""

    name: str
    calls: int
    average: float


def _average(name: str, step: Histogram) -> _Average:
    found = {sample.name: sample.value for metric in step.collect() for sample in metric.samples if not sample.labels}
    calls = int(found[f"{name}_count"])
    return _Average(name, calls, found[f"{name}_sum"] / calls if calls else 0.0)


class Watch:
    """Counts what is asked, around an ASGI application."""

    def __init__(self, app: Any) -> None:
        self._app, self.registry = app, CollectorRegistry()
        self._requests = Counter(
            "mmr_requests", "Requests by route and status.", ["route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "mmr_request_seconds", "Time of a request by route.", ["route"], buckets=SECONDS, registry=self.registry
        )
        self._rows = Gauge("mmr_rows", "Rows of an index.", ["index"], registry=self.registry)
        self._generation = Gauge("mmr_generation", "Commit of an index.", ["index"], registry=self.registry)
        self._waiting = Gauge(
            "mmr_queries_waiting", "Queries that nobody has begun.", ["index"], registry=self.registry
        )

        self._steps = {
            name: Histogram(name, told, buckets=SECONDS, registry=self.registry) for name, told in STEPS.items()
        }

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step of STEPS."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.spent(name, time.perf_counter() - started)

    def spent(self, name: str, seconds: float) -> None:
        """A step of STEPS took so long."""
        self._steps[name].observe(seconds)

    def summary(self) -> str:
        """How often each step of STEPS was done and how long it took, the slowest first, as clip-retrieval tells it."""
        asked, *steps = (_average(name, one) for name, one in self._steps.items())
        if not asked.calls:
            return "No request yet, go do some"
        lines = [("name", "description", "calls", "average", "proportion")]
        for one in sorted(steps, key=lambda one: -one.average):
            share = one.average / asked.average if asked.average else 0.0
            lines.append((one.name, STEPS[one.name], str(one.calls), f"{one.average:0.4f}s", f"{share * 100:0.1f}%"))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [" ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        head = (
            f"Among {asked.calls} calls to the knn end point with an average latency of {asked.average:0.4f}s "
            "per request, the step costs are (in order):"
        )
        return "\n".join([head, "", *table])

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer, and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def counted(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            route = getattr(scope.get("route"), "path", "other")  # never the path itself: each would be a series
            self._requests.labels(route, str(status)).inc()
            self._seconds.labels(route).observe(time.perf_counter() - started)

    def told(self, server: parts.Parts) -> bytes:
        """The text form."""
        for shelf in server.shelves:
            self._rows.labels(shelf.name).set(len(shelf.retriever.store))
            self._generation.labels(shelf.name).set(shelf.retriever.store.generation)
            gatherer = server.gatherers.get(shelf.name)
            self._waiting.labels(shelf.name).set(gatherer.waiting() if gatherer else 0)
        return generate_latest(self.registry)
