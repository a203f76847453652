"""The model hub: whether weights are cached or can be downloaded, checked before its client retries for minutes."""

from collections.abc import Sequence

from retrieval.errors import MissingModel


def require_hub(repository: str, files: Sequence[str], what: str, way_on: str) -> None:
    """Raise MissingModel at once where none of a repository's files is cached and the hub does not answer.

    what: the name of the weights in the message. way_on: the end of the message, what to type instead.
    """
    import huggingface_hub
    from huggingface_hub import constants

    cached = (huggingface_hub.try_to_load_from_cache(repository, name) for name in files) if repository else ()
    if any(isinstance(path, str) for path in cached):
        return
    try:
        if constants.HF_HUB_OFFLINE:
            raise OSError("HF_HUB_OFFLINE is set")
        huggingface_hub.get_session().head(constants.ENDPOINT, timeout=5)
    # Any failure to reach it means the same to a person; the HTTP client's errors differ between its versions.
    except Exception as error:
        raise MissingModel(f"the model hub cannot be reached and {what} is not cached: {way_on}") from error


def downloaded() -> dict[str, int]:
    """Repository -> bytes, of all that lies in the model hub's cache."""
    import huggingface_hub

    try:
        return {repository.repo_id: repository.size_on_disk for repository in huggingface_hub.scan_cache_dir().repos}
    except huggingface_hub.errors.CacheNotFound:
        return {}
