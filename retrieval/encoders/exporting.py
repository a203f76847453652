"""`python -m retrieval.encoders.exporting NAME`: export both towers of an encoder into the cache, try them, and end.

A process of its own, so that torch is not imported by the one that asks (bulk.py). What is wrong is the last line on
stderr.
"""

import sys

from retrieval.encoders import engines, onnx_export, presets, weights
from retrieval.errors import RetrievalError, first_line


def main(name: str) -> int:
    """Export the encoder of that name where it is not yet, and try its engines; the exit code."""
    try:
        presets.require(name)
        from retrieval import engine  # torch, which a name that is none need not wait for
        from retrieval.encoders import trial
        from retrieval.encoders.load import load_encoder

        with engine.one_thread():  # the one that asks decodes its first pictures meanwhile
            encoder = load_encoder(name)
            folder = onnx_export.exported(encoder) or onnx_export.export(encoder, images=True)
            weights.remember(name, folder)
            if not engines.recorded(folder):
                engines.record(folder, trial.try_out(encoder, folder))
    except RetrievalError as error:
        print(error, file=sys.stderr)  # noqa: T201 - to the process that asked
        return 3
    except OSError as error:
        print(f"{error.filename or 'the cache'}: {error.strerror or error}", file=sys.stderr)  # noqa: T201
        return 5
    # Of torch's exporter, whose errors are many.
    except Exception as error:
        print(first_line(error), file=sys.stderr)  # noqa: T201
        return 5
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
