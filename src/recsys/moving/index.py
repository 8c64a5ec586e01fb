"""The index of an exported folder: what is in it, with checksums."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from recsys import contract
from recsys.contract import ReleaseId, Sha256
from recsys.errors import ArtifactError, first_invalid_field

INDEX_FILE: Final = "export.json"
"""Written last: a folder without it is not complete."""
FILES_FOLDER: Final = "files"
"""Every other file, named by its sha256; equal objects are one file."""

COPIED_PREFIXES: Final = (
    contract.RELEASES_PREFIX,
    contract.DATASETS_PREFIX,
    contract.FEATURES_PREFIX,
    contract.SEALS_PREFIX,
    contract.ERASURES_PREFIX,
)
"""What is copied. Uploads of running trainings are not, and public copies are made anew."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ExportedFile(_Document):
    """A file of the folder."""

    sha256: Sha256
    size: int = Field(ge=0)

    def path(self, folder: Path) -> Path:
        """Where the file is in an exported folder."""
        return folder / FILES_FOLDER / self.sha256


class ExportedObject(ExportedFile):
    """An object of the bucket."""

    key: str = Field(min_length=1, max_length=1024)
    metadata: dict[str, str] = {}

    @field_validator("key")
    @classmethod
    def _is_copied(cls, key: str) -> str:
        # Never a public copy, the owner of the bucket, or the object of another application.
        if not key.startswith(COPIED_PREFIXES) or not key.isprintable():
            raise ValueError(f"not a key below {', '.join(COPIED_PREFIXES)}")
        return key


class ExportedTable(ExportedFile):
    """A release's own table of vectors, as parquet (`recsys.vectors.read_vectors`)."""

    release_id: ReleaseId
    table: str
    digest: Sha256

    @field_validator("table")
    @classmethod
    def _is_public(cls, table: str) -> str:
        return contract.public_table(table).name

    rows: int = Field(gt=0)


class ExportIndex(_Document):
    """The document `INDEX_FILE`.

    Attributes:
        form: says what the document is.
        version: of the form; readers refuse a newer one.
        exported_at: when.
        ledger_id: the ledger; it keeps its id.
        migrations: of the ledger's schema.
        champion: the release that was served; None if none was.
        releases: number of releases in the ledger, with those that are retired.
        ledger: tables of the ledger by name (`recsys.ledger.copying`).
        tables: tables of vectors.
        objects: objects of the bucket, but for those that are made anew: public copies, the owner.
    """

    form: Literal["recsys-export"] = "recsys-export"
    version: Literal[1] = 1
    exported_at: datetime
    ledger_id: str
    migrations: list[int]
    champion: ReleaseId | None
    releases: int
    ledger: dict[str, ExportedFile]
    tables: list[ExportedTable]
    objects: list[ExportedObject]

    @property
    def files(self) -> dict[str, ExportedFile]:
        """The files of the folder by their sha256."""
        found = [*self.ledger.values(), *self.tables, *self.objects]
        return {one.sha256: one for one in found}

    @property
    def size(self) -> int:
        """Bytes of the folder's files."""
        return sum(one.size for one in self.files.values())


def read_index(folder: Path) -> ExportIndex:
    """Reads the index of an exported folder.

    Raises:
        ArtifactError: there is none, or it has another form.
    """
    path = folder / INDEX_FILE
    try:
        return ExportIndex.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ArtifactError(
            f"{folder} is not a complete export",
            found=f"no readable {INDEX_FILE}, which is written last",
            hint="export again with `recsys export`",
        ) from error
    except ValidationError as error:
        raise ArtifactError(
            f"{path} has another form",
            found=first_invalid_field(error),
            expected="version 1 of an export; newer code may have written it",
        ) from error
