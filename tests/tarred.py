"""Tars written member by member."""

import io
import json
import tarfile

from PIL import Image


def png(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path, members, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def sample(key, colour, caption=None, /, **fields):
    members = [(f"{key}.png", png(colour))]
    members += [(f"{key}.txt", caption.encode())] if caption else []
    return members + ([(f"{key}.json", json.dumps(fields).encode())] if fields else [])
