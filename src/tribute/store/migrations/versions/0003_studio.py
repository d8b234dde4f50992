"""People, sessions, keys, jobs and the gallery: what the studio keeps beside pictures and money."""

from __future__ import annotations

from alembic import op

from tribute.store.schema import STUDIO

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for table in STUDIO:
        table.create(op.get_bind())
