"""Builds the objects that the faces share, from settings in the environment (`TRIBUTE_HOME`, `TRIBUTE_DATABASE`, ...)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from tribute.records import InvalidInput, Picture, Price, Unknown, sha256
from tribute.store.blobs import DiskBlobs
from tribute.store.database import Database, get
from tribute.store.schema import pictures

if TYPE_CHECKING:
    from tribute.commission import Desk
    from tribute.diffusion.loading import Model

STARTER = Path(str(files("tribute"))) / "starter"


class Settings(BaseSettings):
    """Each can be set in the environment with the prefix TRIBUTE_."""

    model_config = SettingsConfigDict(env_prefix="TRIBUTE_", frozen=True)

    home: Path = Path("~/.local/share/tribute")
    database: str | None = None  # SQLAlchemy URL; by default an SQLite file in `home`
    model: str = "starter"
    models: str = ""  # further models that may be asked for, with commas between
    engine: str = "auto"  # auto, torch or openvino
    price_minor: int = Field(default=50, gt=0, le=10**9)
    currency: str = Field(default="CNY", pattern=r"^[A-Z]{3}$")
    platform_bp: int = Field(default=3000, ge=0, le=10_000)
    refund_days: int = Field(default=7, ge=0, le=3650)
    producer: str = "Tribute"
    guest_pictures: int = Field(default=9, ge=0, le=1000)  # that a guest may have drawn a day; 0 closes the studio to guests

    @property
    def offered(self) -> tuple[str, ...]:
        """The studio's own model, then the others that may be asked for."""
        return (self.model, *(name.strip() for name in self.models.split(",") if name.strip() and name.strip() != self.model))


@dataclass(frozen=True)
class Workshop:
    """A data folder, opened: its database, its blobs and its settings. Nothing here imports torch until a model is loaded."""

    settings: Settings
    home: Path
    database: Database
    blobs: DiskBlobs

    def desk(self) -> Desk:
        from tribute.commission import Desk

        price = Price(amount_minor=self.settings.price_minor, currency=self.settings.currency, platform_bp=self.settings.platform_bp)
        return Desk(self.database, self.blobs, self.studio(), price, self.settings.producer)

    def studio(self) -> Any:
        from tribute.provenance.certificate import open_studio

        return open_studio(self.home / "studio")

    def model(self, name: str | None = None) -> Model:
        from tribute.diffusion.loading import load_model

        name = name or self.settings.model
        if name == "starter" and not (STARTER / "model_index.json").is_file():
            raise Unknown(f"the starter model is not in {STARTER}; reinstall tribute, or give --model FOLDER")
        return load_model(str(STARTER) if name == "starter" else name, engine=self.settings.engine)

    def picture(self, reference: str) -> tuple[Picture, str]:
        """The picture of an id or a file, and how it was recognised: id, file, signature or watermark. Raises Unknown or InvalidPicture."""
        if re.fullmatch(r"[0-9a-f]{8}", reference):
            with self.database.reading() as connection:
                return get(connection, pictures, Picture, reference, "picture"), "id"
        from sqlalchemy import select

        from tribute.collection.picture import read_limited
        from tribute.provenance.verify import verify

        data = read_limited(Path(reference))
        with self.database.reading() as connection:
            document = connection.execute(select(pictures.c.document).where(pictures.c.file_sha256 == sha256(data))).scalar_one_or_none()
        if document is not None:
            return Picture.model_validate_json(document), "file"
        found = verify(data, Path(reference).name, self.studio().root)
        if found.picture_id is None:
            raise Unknown(f"{Path(reference).name} was not made by Tribute: no signature, no watermark; give a picture or an id from `tribute create`")
        with self.database.reading() as connection:
            return get(connection, pictures, Picture, found.picture_id, "picture"), "signature" if found.verdict == "intact" else "watermark"


def open_workshop(settings: Settings | None = None, starter: Path | None = STARTER) -> Workshop:
    """Opens or makes the data folder, and takes over the shipped collection the first time. Raises InvalidInput for bad settings."""
    from pydantic import ValidationError

    from tribute.collection.library import finish_leaving, install_collection

    try:
        settings = settings or Settings()
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidInput(f"TRIBUTE_{str(first['loc'][0]).upper()}: {first['msg']}, got {str(first['input'])[:80]!r}") from error
    home = settings.home.expanduser()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"the data folder {home} cannot be made ({error.strerror}); set TRIBUTE_HOME to one that can") from error
    database = Database(settings.database or f"sqlite:///{home / 'tribute.db'}")
    blobs = DiskBlobs(home / "blobs")
    if starter is not None and (starter / "collection.json").is_file():
        install_collection(database, blobs, starter)
    finish_leaving(database, blobs, lambda digest: blobs.path(digest).exists())
    return Workshop(settings, home, database, blobs)
