"""Writing a dataset's zip and its md5 file, reproducibly."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable
from pathlib import Path

from recsys.dataset.zip_entries import MOVIES_CSV, RATINGS_CSV


def write_dataset(path: Path, movies: bytes, ratings: Iterable[bytes], *, folder: str = "") -> str:
    """Writes a dataset's zip and its md5 file; the same content gives the same bytes.

    Both files appear complete or not at all. After a crash there may be a zip without an md5 file,
    but never one with the md5 of an earlier zip.

    Args:
        path: the new zip; its folder must exist.
        movies: content of movies.csv.
        ratings: content of ratings.csv, in parts.
        folder: folder of both entries in the zip, e.g. "ml-sample/".

    Returns:
        The zip's md5, 32 hex digits.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        # Entries that are created by name have the date 1980-01-01, not the current time.
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as archive:
            with archive.open(folder + MOVIES_CSV, "w") as file:
                file.write(movies)
            with archive.open(folder + RATINGS_CSV, "w", force_zip64=True) as file:
                for part in ratings:
                    file.write(part)
        with partial.open("rb") as written:
            digest = hashlib.file_digest(written, lambda: hashlib.md5(usedforsecurity=False))
        md5 = digest.hexdigest()
        md5_path = path.with_name(path.name + ".md5")
        md5_path.unlink(missing_ok=True)
        partial.replace(path)
        md5_path.write_text(f"MD5 ({path.name}) = {md5}\n")
    finally:
        partial.unlink(missing_ok=True)
    return md5
