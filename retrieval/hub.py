"""The model hub: whether weights are cached or can be downloaded, checked before its client retries for minutes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retrieval import errors
from retrieval.errors import MissingModel

OPEN_CLIP = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors")  # files of weights


def require_hub(repository: str, files: Sequence[str], what: str, way_on: str) -> None:
    """Raise MissingModel at once where none of a repository's files is cached and the hub does not answer.

    what: the name of the weights in the message. way_on: the end of the message, what to type instead.
    """
    if cached(repository, files):
        return
    try:
        if _is_cut_off():
            raise OSError("there is no way to it")
        import huggingface_hub  # its HTTP client takes a second to import

        huggingface_hub.get_session().head(_constants().ENDPOINT, timeout=5)
    # Any failure to reach it means the same to a person; the HTTP client's errors differ between its versions.
    except Exception as error:
        raise MissingModel(f"the model hub cannot be reached and {what} is not cached: {way_on}") from error


def snapshot(repository: str, files: Sequence[str], what: str, way_on: str) -> Path:
    """The folder of a repository in the hub's cache, fetched where it is not there.

    files: names of its weights, of which the first that it has is fetched. what, way_on: as for `require_hub`. Raises
    MissingModel where it cannot be had.
    """
    import huggingface_hub

    require_hub(repository, files, what, way_on)
    here = bool(cached(repository, files))
    try:
        if not here:
            listed = huggingface_hub.HfApi().list_repo_files(repository)
            files = next(([name, f"*/{name}"] for name in files if name in listed), [])
        wanted = ["*.json", *files]
        return Path(
            huggingface_hub.snapshot_download(
                repository, local_files_only=here, allow_patterns=wanted, ignore_patterns=["onnx/*", "openvino/*"]
            )
        )
    # The hub's client and its HTTP library raise families of their own.
    except Exception as error:
        raise MissingModel(f"{what} cannot be had of the model hub ({errors.first_line(error)}): {way_on}") from error


def require_open_clip(name: str, tag: str, repository: str, option: str = "--model ", quick: bool = False) -> None:
    """`require_hub` for the weights TAG of open_clip's model NAME. option: what is typed before `open_clip:`.

    quick: ask no hub that may be there, so that to say no costs a fraction of a second.
    """
    if quick and (cached(repository, OPEN_CLIP) or not _is_cut_off()):
        return
    own = "train your own with `mmr train PAIRS --out RUN`"
    last = f"{own}, or take --model builtin" if option.startswith("--model") else f"or {own}"
    way_on = f"give local weights with {option}open_clip:{name}/FILE, {last}"
    require_hub(repository, OPEN_CLIP, f"{name}/{tag}", way_on)


def cached(repository: str, files: Sequence[str]) -> list[Path]:
    """Those of a repository's files that are in the hub's cache."""
    snapshots = Path(_constants().HF_HUB_CACHE, f"models--{repository.replace('/', '--')}", "snapshots")
    return [path for name in files for path in sorted(snapshots.glob(f"*/{name}"))] if repository else []


def _is_cut_off() -> bool:
    """Is it sure, and quickly, that the hub cannot be asked? Behind a proxy, or while a line is slow, it is not."""
    if _constants().HF_HUB_OFFLINE:
        return True
    import socket
    from urllib.parse import urlsplit
    from urllib.request import getproxies

    address = urlsplit(_constants().ENDPOINT)
    try:
        if not getproxies():
            socket.create_connection((address.hostname, address.port or 443), timeout=0.5).close()
    except TimeoutError:
        return False
    except OSError:
        return True
    return False


def _constants() -> Any:
    from huggingface_hub import constants

    return constants


def downloaded() -> dict[str, int]:
    """Repository -> bytes, of all that lies in the model hub's cache."""
    import huggingface_hub

    try:
        return {repository.repo_id: repository.size_on_disk for repository in huggingface_hub.scan_cache_dir().repos}
    except huggingface_hub.errors.CacheNotFound:
        return {}
