"""The distribution that these packages come in: its name at the package index, its version, how more of it is had.

It is not called `mmr`, as the command is: that name is another project's there.
"""

NAME = "mmr-retrieval"
UPGRADE = f"pip install -U {NAME}"


def install(extra: str) -> str:
    """The command that installs an extra, one of pyproject.toml's optional dependencies."""
    return f"pip install '{NAME}[{extra}]'"


def version() -> str:
    """The version that is installed, or that of the checkout that runs without having been installed."""
    from importlib import metadata  # few ask, every command imports this

    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        import tomllib
        from pathlib import Path

        return tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]["version"]
