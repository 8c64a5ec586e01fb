"""The form of a model's file: the three members that Keras writes, and nothing else.

Keras ignores a member that it does not know, or warns. But this file is published, and another tool
that unpacks it would write what a trainer put beside the model.
"""

from __future__ import annotations

import stat
import zipfile
from typing import IO, Final

from recsys.errors import ArtifactError

# The models of the pipeline have no assets: their vocabularies are in config.json.
_LIMITS: Final[dict[str, int | None]] = {
    "metadata.json": 1 << 20,
    "config.json": 256 << 20,
    # Not compressed, so it is at most as large as the file, whose size the manifest states.
    "model.weights.h5": None,
}
_ENCRYPTED: Final = 1


def check_model_file(file: IO[bytes], name: str) -> None:
    """Checks the members of a model's file before Keras loads it.

    Args:
        file: the open file, seekable.
        name: its name for the error.

    Raises:
        ArtifactError: it is not a zip, or a member is missing, unknown, listed twice, a link,
            compressed or too large.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    # NotImplementedError: zipfile does not know the version of the format that a member needs.
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
        raise _error(name, f"{type(error).__name__}: {error}") from error
    # The original names, because zipfile cuts a name at a zero byte.
    names = [member.orig_filename for member in members]
    if sorted(names) != sorted(_LIMITS):
        shown = ", ".join(repr(found[:80]) for found in names[:10])
        raise _error(name, f"{len(names)} members: {shown}")
    for member in members:
        problem = _problem(member)
        if problem:
            raise _error(name, f"{member.filename}: {problem}")


def _problem(member: zipfile.ZipInfo) -> str | None:
    """Why a member is not what Keras writes; None if it is."""
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "not a regular file"
    if member.flag_bits & _ENCRYPTED:
        return "encrypted"
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
        return "compressed"
    limit = _LIMITS[member.filename]
    if limit is not None and member.file_size > limit:
        return f"{member.file_size} bytes, at most {limit} are expected"
    return None


def _error(name: str, found: str) -> ArtifactError:
    return ArtifactError(
        f"{name} is not a model's file as Keras writes it",
        found=found,
        expected=f"a zip of {', '.join(_LIMITS)}, each once and not compressed",
        hint="the trainer must store what `model.save` wrote, without changes; train again",
    )
