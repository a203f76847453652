"""/v1/embeddings in the form of OpenAI's, with the `modality` that servers of pictures added to it."""

import base64
import binascii
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from cli.serve import parts
from cli.serve.reply import reply
from cli.serve.shelf import Shelf
from retrieval.errors import BadRequest
from retrieval.images import load

MOST = 256  # inputs of a request
LONGEST = 10_000  # letters of a text

router = APIRouter(tags=["embeddings"])


class Embeddings(BaseModel):
    """What is to be encoded. input: texts, or pictures as data: addresses. model: an index's name, or anything."""

    input: str | list[str] = Field(examples=["a dog"])
    model: str | None = Field(None, max_length=200)
    modality: Literal["text", "image"] = "text"
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)
    user: str | None = Field(None, max_length=1000)


@router.post("/v1/embeddings")
async def embeddings(said: Embeddings, request: Request) -> Response:
    """The unit vectors of texts or pictures, by the encoder of an index."""
    server = parts.of(request)
    named = [shelf.name for shelf in server.shelves]
    shelf = server.shelves.get(said.model if said.model in named else None)
    given = [said.input] if isinstance(said.input, str) else said.input
    if not 0 < len(given) <= MOST:
        raise BadRequest(f"{len(given)} inputs: give 1 to {MOST}")
    if said.dimensions not in (None, shelf.retriever.store.dim):
        raise BadRequest(f"vectors have {shelf.retriever.store.dim} dimensions: leave out `dimensions`")
    do = server.decode if said.modality == "image" else run_in_threadpool
    vectors = await do(_encoded, shelf, given, said.modality)
    tokens = sum(len(text.split()) for text in given) if said.modality == "text" else 0
    return reply(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": at, "embedding": _told(vector, said.encoding_format)}
                for at, vector in enumerate(vectors)
            ],
            "model": shelf.retriever.encoder.name or shelf.name,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


def _encoded(shelf: Shelf, given: list[str], modality: str) -> np.ndarray:
    encoder = shelf.retriever.encoder
    if modality == "text":
        if any(len(text) > LONGEST or not text.strip() for text in given):
            raise BadRequest(f"a text is empty, or has more than {LONGEST} letters: send another")
        return encoder.encode_texts(given)
    return encoder.encode_images([load.decode(_content(text), encoder.preprocess.size) for text in given])


def _content(text: str) -> bytes:
    head, comma, body = text.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise BadRequest("a picture is sent as data:image/jpeg;base64,...: no address is fetched")
    try:
        return base64.b64decode(body, validate=True)
    except (ValueError, binascii.Error):
        raise BadRequest("a picture's base64 cannot be read: send it again") from None


def _told(vector: np.ndarray, form: str) -> Any:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if form == "base64" else vector.tolist()
