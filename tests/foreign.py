"""What other tools leave, made by code in their documented form, and what an index then holds."""

import sqlite3

import numpy as np
import pyarrow
import pyarrow.parquet

from indexes import Store
from toy import ToyEncoder

NAMES = ("blue é.png", "more/green.jpg", "red.png")


class Wide(ToyEncoder):
    """The toy with rows of 512, as rclip's are; `turned` makes it another encoder of the same width."""

    name, dim = "small", 512

    def __init__(self, fingerprint="wide", turned=0):
        super().__init__(fingerprint)
        self.turned = turned

    def encode_images(self, images):
        return self._wide(super().encode_images(images))

    def encode_texts(self, texts):
        return self._wide(super().encode_texts(texts))

    def _wide(self, rows):
        return np.roll(np.pad(rows, ((0, 0), (0, self.dim - 4))), self.turned, axis=1)


def rclip_database(path, rows, version=4):
    """rclip's own schema, as each version leaves it. rows: (filepath, modified_at, size, vector, deleted)."""
    database = sqlite3.connect(path)
    database.execute(
        "CREATE TABLE images (id INTEGER PRIMARY KEY, deleted BOOLEAN, filepath TEXT NOT NULL UNIQUE,"
        " modified_at DATETIME NOT NULL, size INTEGER NOT NULL, vector BLOB NOT NULL)"
    )
    database.execute("CREATE UNIQUE INDEX existing_images ON images(filepath) WHERE deleted IS NULL")
    database.execute("CREATE TABLE db_version (version INTEGER)")
    if version >= 2:
        database.execute("ALTER TABLE images ADD COLUMN indexing BOOLEAN")
        database.execute("INSERT INTO db_version(version) VALUES (?)", (version,))
    if version >= 4:
        database.execute("ALTER TABLE images ADD COLUMN hash TEXT")
    database.executemany(
        "INSERT INTO images(filepath, modified_at, size, vector, deleted) VALUES (?, ?, ?, ?, ?)", rows
    )
    database.commit()
    database.close()
    return path


def rclip_row(path, vector, deleted=None):
    status = path.stat()
    return (str(path), status.st_mtime, status.st_size, np.asarray(vector, "<f4").tobytes(), deleted)


def clip_folder(folder, shards):
    """What clip-retrieval writes. shards: (vectors, {column: values}) of each partition."""
    for number, (rows, columns) in enumerate(shards):
        name = str(number).zfill(int(np.log10(len(shards))) + 1)
        for part in ("img_emb", "metadata", "stats"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        np.save(folder / "img_emb" / f"img_emb_{name}.npy", np.asarray(rows, np.float16))
        pyarrow.parquet.write_table(pyarrow.table(columns), folder / "metadata" / f"metadata_{name}.parquet")
        (folder / "stats" / f"{name}.json").write_text("{}")
    return folder


def held(path):
    """(vectors float32 (n, d), records, manifest) of an index, in the order of the rows."""
    with Store.open(path) as store:
        assert store.verify() == []
        rows = store.rows()
        parts = [part for segment in store.segments for _, part in segment.blocks()]
        return np.concatenate(parts), store.records(rows), store.manifest
