"""JSON answers, and what the documentation says of bodies that are pictures."""

import json
from typing import Any

from fastapi import Response

PICTURE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}  # a picture is the body itself: no form is parsed


AGAIN = {"retry-after": "1"}  # seconds: what cannot be had now is looked for every second


def reply(said: Any, status: int = 200) -> Response:
    """JSON, compact; NaN and infinity, which JSON has not, are null. 503 says when to ask again."""
    try:
        body = json.dumps(said, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        body = json.dumps(_finite(said), ensure_ascii=False, separators=(",", ":"))
    content, headers = body.encode("utf-8", "backslashreplace"), AGAIN if status == 503 else None
    return Response(content, status, headers, media_type="application/json")


def _finite(said: Any) -> Any:
    if isinstance(said, float):
        return said if said - said == 0 else None
    if isinstance(said, dict):
        return {name: _finite(value) for name, value in said.items()}
    return [_finite(value) for value in said] if isinstance(said, list | tuple) else said
