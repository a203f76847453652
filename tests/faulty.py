"""Files and folders that fail as a dying disk, a share that is away or missing permissions let them fail."""

import errno
import io
import os


class Faults:
    """From `fail` on, what lies at a path or below it raises, whoever runs the tests: root may read everything."""

    def __init__(self, monkeypatch):
        self._failing = {}
        for module, name in ((os, "scandir"), (os, "stat"), (io, "open")):
            monkeypatch.setattr(module, name, self._guarded(getattr(module, name), name))

    def fail(self, path, code=errno.EIO, calls=("scandir", "stat", "open")):
        self._failing[os.fspath(path)] = (code, calls)

    def heal(self):
        self._failing.clear()

    def _guarded(self, real, name):
        def call(path=".", *args, **options):
            asked = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
            for failing, (code, calls) in self._failing.items():
                if name in calls and (asked == failing or asked.startswith(failing + os.sep)):
                    raise OSError(code, os.strerror(code), asked)
            return real(path, *args, **options)

        return call


class Cut(io.RawIOBase):
    """A file of which only the start can be read."""

    def __init__(self, content):
        self._rest = io.BytesIO(content)

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=0):
        return self._rest.seek(offset, whence)

    def tell(self):
        return self._rest.tell()

    def readinto(self, buffer):
        part = self._rest.read(len(buffer))
        if not part:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        buffer[: len(part)] = part
        return len(part)
