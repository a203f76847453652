"""/healthz, /readyz, /metrics: does the server live, can it answer, how long does it take (Prometheus)."""

import time
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from cli.serve import parts
from cli.serve.reply import reply

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
