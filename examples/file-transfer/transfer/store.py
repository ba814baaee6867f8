"""Files on the disk. Each is two: NAME.part or NAME.data with its bytes, and NAME.json with the rest, where
NAME is a UUID. What a user calls a file never becomes a path."""

import hashlib
import json

from django.conf import settings


def path_of(name, suffix):
    settings.UPLOADS.mkdir(parents=True, exist_ok=True)
    return settings.UPLOADS / f"{name}{suffix}"


def files():
    """What there is about all files that are complete, the newest first."""
    settings.UPLOADS.mkdir(parents=True, exist_ok=True)
    found = sorted(settings.UPLOADS.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [{"name": path.stem, **json.loads(path.read_text())} for path in found]


def about(name):
    """The same about one file; None if there is no such file, or not all of it."""
    path = path_of(name, ".json")
    return {"name": str(name), **json.loads(path.read_text())} if path.exists() else None


class Upload:
    """A file that is arriving. What has arrived of it stays when the connection is lost."""

    def __init__(self, name, title, size):
        self.name, self.title, self.size = name, title, size
        self._path = path_of(name, ".part")
        self._file = self._path.open("ab+")
        self.received = self._file.tell()
        self._digest = hashlib.sha256()
        self._file.seek(0)
        while data := self._file.read(1024 * 1024):
            self._digest.update(data)

    def write(self, data):
        self._file.write(data)
        self._digest.update(data)
        self.received += len(data)

    def finish(self):
        """Make the file one of `files()`; returns what there is about it."""
        self._file.close()
        self._path.rename(path_of(self.name, ".data"))
        facts = {"title": self.title, "size": self.size, "sha256": self._digest.hexdigest()}
        path_of(self.name, ".json").write_text(json.dumps(facts))
        return {"name": str(self.name), **facts}

    def close(self):
        self._file.close()
