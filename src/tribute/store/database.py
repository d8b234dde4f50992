"""Opening SQLite or PostgreSQL, migrating it, and reading and writing records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, Table, create_engine, event, insert, make_url, select, text
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.pool import StaticPool

from tribute.records import InvalidInput, Record, TributeError, Unknown, canonical

R = TypeVar("R", bound=Record)


class Unavailable(TributeError):
    """The database cannot be reached or written: a full disk, a lock held too long, a server that is down."""


RETRIED = ("40001", "40P01")  # PostgreSQL: serialisation failure, deadlock


def moment(when: datetime) -> str:
    """ISO 8601 in UTC to the millisecond, as the tables hold it."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03d}Z"


class Database:
    """A migrated database. `sqlite://` lives in memory: the twin for tests."""

    def __init__(self, url: str) -> None:
        try:
            self.url = make_url(url)
            if self.url.drivername in ("postgresql", "postgres"):
                self.url = self.url.set(drivername="postgresql+psycopg")
            if self.url.get_backend_name() not in ("sqlite", "postgresql"):
                raise InvalidInput(f"database {self.url.get_backend_name()!r} is not supported; give sqlite:/// or postgresql://")
            self.engine = self._engine()
        except (ArgumentError, NoSuchModuleError, ValueError) as error:
            if isinstance(error, TributeError):
                raise
            raise InvalidInput("that is no database URL; give sqlite:///FILE or postgresql://USER@HOST/NAME") from error
        self._migrate()

    def _engine(self) -> Engine:
        if self.url.get_backend_name() == "postgresql":
            return create_engine(self.url, pool_pre_ping=True)
        in_memory = self.url.database in (None, "", ":memory:")
        options: dict[str, Any] = {"connect_args": {"check_same_thread": False, "timeout": 30}}
        if in_memory:
            options["poolclass"] = StaticPool
        engine = create_engine(self.url, **options)

        @event.listens_for(engine, "connect")
        def _connected(connection: Any, _: Any) -> None:
            connection.isolation_level = None  # we say BEGIN ourselves
            for pragma in ("foreign_keys = ON", "journal_mode = WAL", "synchronous = FULL", "busy_timeout = 30000"):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def _began(connection: Connection) -> None:
            writes = connection.get_execution_options().get("tribute_write")
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

        return engine

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(files("tribute.store") / "migrations"))
        with self.writing() as connection:
            if self.url.get_backend_name() == "postgresql":
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(20261122)")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def _transaction(self, write: bool) -> Iterator[Connection]:
        try:
            options: dict[str, Any] = {"tribute_write": write}
            if not write and self.url.get_backend_name() == "postgresql":
                options["isolation_level"] = "REPEATABLE READ"
            with self.engine.connect().execution_options(**options) as connection, connection.begin():
                yield connection
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) in RETRIED:
                raise  # whoever wrote may say it again
            raise Unavailable(f"the database cannot be used: {str(error.orig).strip().splitlines()[0]}") from error
        except DataError as error:  # a zero byte, which PostgreSQL cannot hold
            raise InvalidInput("a value cannot be stored or looked for as it is; leave control characters out") from error
        except DBAPIError as error:
            if error.connection_invalidated or "not a database" in str(error.orig):
                raise Unavailable(f"the database cannot be used: {str(error.orig).strip().splitlines()[0]}") from error
            raise

    def writing(self) -> Any:
        """A transaction that may write; on SQLite it waits for its turn at the start."""
        return self._transaction(True)

    def reading(self) -> Any:
        """A transaction that only reads: one consistent view."""
        return self._transaction(False)

    def close(self) -> None:
        self.engine.dispose()


def grant_application(connection: Connection, role: str) -> None:
    """Gives a PostgreSQL role what the application needs and no more: it can add to the ledger and change nothing in it."""
    from tribute.store.schema import APPEND_ONLY, metadata

    quoted = connection.dialect.identifier_preparer.quote_identifier(role)
    connection.execute(text(f"GRANT USAGE ON SCHEMA public TO {quoted}"))
    connection.execute(text(f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {quoted}"))
    connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {quoted}"))
    for table in metadata.tables:
        if table != "balances":
            rights = "INSERT" if table in APPEND_ONLY else "INSERT, UPDATE, DELETE"
            connection.execute(text(f"GRANT {rights} ON {table} TO {quoted}"))


def insert_new(connection: Connection, table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
    """Inserts rows, leaving those whose key is there already as they are."""
    from sqlalchemy.dialects import postgresql, sqlite

    rows = list(rows)
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    for start in range(0, len(rows), 500):
        connection.execute(dialect.insert(table).on_conflict_do_nothing(), rows[start : start + 500])


def put(connection: Connection, table: Table, record: Record, **columns: Any) -> None:
    """Inserts one record with its `document` and the columns it is found by."""
    connection.execute(insert(table).values(document=canonical(record.document()).decode(), **columns))


def get(connection: Connection, table: Table, kind: type[R], key: str, what: str) -> R:
    """The record under a table's primary key. Raises Unknown, naming what there is where that is a short list."""
    column = next(iter(table.primary_key.columns))
    document = connection.execute(select(table.c.document).where(column == key)).scalar_one_or_none()
    if document is None:
        known = connection.execute(select(column).limit(40)).scalars().all() if what in ("style", "artist") else ()
        raise Unknown.of(what, key, known)
    return kind.model_validate_json(document)


def documents(connection: Connection, table: Table, kind: type[R], *where: Any) -> list[R]:
    """All records of a table that meet the conditions, in the order of its primary key."""
    query = select(table.c.document).where(*where).order_by(*table.primary_key.columns)
    return [kind.model_validate_json(document) for document in connection.execute(query).scalars()]
