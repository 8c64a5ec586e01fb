"""A process of readers: ``python -m tests.chaos.readers``; it reads until it is stopped.

Each reader has its own connection, prepared statements and S3 client, and knows by content which
release every vector and every model belongs to.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
import threading
import time
from collections import Counter
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from recsys.contract import PUBLIC_MODEL_KEY, RELEASE_ID_TAG
from recsys.object_store import ObjectStore, S3Settings

SIMILAR: Final = (
    "select movieid, vector::text from movie_vectors "
    "order by vector <=> (select vector from movie_vectors where movieid = 1) limit 3"
)
RECOMMEND: Final = (
    "select m.movieid, m.vector::text, u.vector::text from user_towers u, movie_towers m "
    "where u.userid = 1 order by m.vector <#> u.vector limit 3"
)
PAUSE_S: Final = 0.015
"""Without a pause the readers would mostly measure how they wait for the processor."""
NOTED_FROM_S: Final = 0.002
"""Reads of tables that took longer are reported one by one."""


class Reader:
    """Reads in turns by the public names, by the consumer rule, and by the fixed key."""

    def __init__(self, dsn: str, s3: dict[str, Any], owners: dict[str, str]) -> None:
        self.conn = psycopg.connect(dsn, autocommit=True, prepare_threshold=0)
        self.store = ObjectStore.connect(S3Settings(**s3))
        self.owners = owners
        self.reads: Counter[str] = Counter()
        self.errors: list[str] = []
        self.slow: list[tuple[float, float]] = []

    def run(self, stop: threading.Event) -> None:
        for turn in itertools.count():
            if stop.is_set():
                return
            time.sleep(PAUSE_S)
            if turn % 40 == 39:
                self._read("fixed key", self.read_fixed_key)
            elif turn % 40 == 19:
                self._read("pair with its model", self.read_pair_and_model)
            elif turn % 4 == 3:
                self._read("pair of tables", self.read_pair)
            else:
                self._read("public names", self.read_public_names)

    def read_public_names(self) -> None:
        found = {self.owners[text] for _, text in self.conn.execute(SIMILAR)}
        assert len(found) == 1, f"neighbours of {found}"
        found = {self.owners[t] for _, *texts in self.conn.execute(RECOMMEND) for t in texts}
        assert len(found) == 1, f"towers of {found}"

    def read_pair(self) -> dict[str, Any]:
        with self.conn.cursor(row_factory=dict_row) as cur:
            row = cur.execute("select * from recsys.current_release").fetchone()
        assert row is not None
        for column in ("movie_vectors_table", "movie_towers_table"):
            query = sql.SQL("select vector::text from {} order by movieid limit 2").format(
                sql.Identifier(*row[column].split("."))
            )
            found = {self.owners[text] for (text,) in self.conn.execute(query)}
            assert found == {row["release_id"]}, f"{column} of {found}"
        return row

    def read_pair_and_model(self) -> None:
        row = self.read_pair()
        model = self.store.get_bytes(row["model_key"])
        assert hashlib.sha256(model).hexdigest() == row["model_sha256"], "another model"
        assert self.owners[first_words(model)] == row["release_id"], "a model of another release"

    def read_fixed_key(self) -> None:
        answer = self.store._client.get_object(Bucket=self.store.bucket, Key=PUBLIC_MODEL_KEY)
        model, tags = answer["Body"].read(), answer["Metadata"]
        assert hashlib.sha256(model).hexdigest() == tags["sha256"], "a torn model"
        assert self.owners[first_words(model)] == tags[RELEASE_ID_TAG], "a tag of another release"

    def _read(self, kind: str, read: Any) -> None:
        start = time.monotonic()
        try:
            read()
        except Exception as error:
            self.errors.append(f"{kind}: {type(error).__name__}: {error}"[:300])
        taken = time.monotonic() - start
        self.reads[kind] += 1
        if taken > NOTED_FROM_S and read not in (self.read_pair_and_model, self.read_fixed_key):
            self.slow.append((start, taken))


def first_words(model: bytes) -> str:
    """What a made-up model says first: "model" and its number."""
    return " ".join(model[:40].decode().split()[:2])


def main() -> None:
    order = json.loads(sys.stdin.readline())
    readers = [Reader(order["dsn"], order["s3"], order["owners"]) for _ in range(order["readers"])]
    stop = threading.Event()
    threads = [threading.Thread(target=reader.run, args=(stop,)) for reader in readers]
    for thread in threads:
        thread.start()
    # Each line asks how many reads there were; the end of input ends the reading.
    for _ in sys.stdin:
        print(sum(sum(r.reads.values()) for r in readers), flush=True)
    stop.set()
    for thread in threads:
        thread.join()
    reads: Counter[str] = Counter()
    for reader in readers:
        reads += reader.reads
    report = {
        "reads": reads,
        "errors": [error for reader in readers for error in reader.errors],
        "slow": [reader.slow for reader in readers],
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
