"""Who uses the studio: sign-up, sign-in, sessions, API keys, and what each role may do.

Passwords are hashed with argon2id; of sessions and keys only the SHA-256 is kept, so a copy of the database opens nothing. A guest is a person
without a password. On a laptop there is one person, the owner, who is an operator and needs no password.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Literal

from sqlalchemy import Connection, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from tribute.ledger.book import creator_account
from tribute.records import Conflict, InvalidInput, NotAllowed, Record, Unknown, sha256, utc_now
from tribute.store.database import Database, moment
from tribute.store.schema import api_keys, artists, balances, people, sessions

Role = Literal["guest", "creator", "artist", "operator"]
ROLES: tuple[Role, ...] = ("guest", "creator", "artist", "operator")
OWNER = "owner"  # the one person of a laptop
PASSWORD_MIN, PASSWORD_MAX = 10, 200
SESSION_DAYS, GUEST_DAYS = 30, 1
KEY_PREFIX = "tk_"


class Person(Record):
    """Somebody who uses the studio. `name` is also the name of their account in the ledger."""

    id: str
    name: str
    role: Role
    artist_id: str | None = None

    @property
    def is_operator(self) -> bool:
        return self.role == "operator"


class Denied(NotAllowed):
    """Name and password do not fit, or a key or session that is not good any more."""


def person_of(row: Row[tuple[object, ...]]) -> Person:
    return Person(id=row.id, name=row.name, role=row.role, artist_id=row.artist_id)


def _hasher() -> object:
    from argon2 import PasswordHasher

    return PasswordHasher()  # argon2id with RFC 9106's low-memory parameters


def check_password(password: str) -> None:
    """Raises InvalidInput for a password that is too short to be one."""
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise InvalidInput(f"the password has {len(password)} characters; give {PASSWORD_MIN} to {PASSWORD_MAX}")


class People:
    def __init__(self, database: Database) -> None:
        self.database = database
        self._nobody: str | None = None

    def add(self, name: str, password: str | None, role: Role = "creator", artist_id: str | None = None, public: bool = False) -> Person:
        """Raises InvalidInput for a bad name or password, Conflict for a name that is taken, Unknown for an artist that there is not.

        `public`: somebody signs up by themself, so a name whose account in the ledger has money or a past is taken too.
        """
        creator_account(name)
        if role not in ROLES:
            raise Unknown.of("role", role, ROLES)
        if password is not None:
            check_password(password)
        if (role == "artist") != (artist_id is not None):
            raise InvalidInput("an artist's account names its artist, and no other does; give both or neither")
        person = Person(id=secrets.token_hex(8), name=name, role=role, artist_id=artist_id)
        hashed = _hasher().hash(password) if password is not None else None  # type: ignore[attr-defined]
        row = {"id": person.id, "name": name, "password": hashed, "role": role, "artist_id": artist_id, "created": moment(utc_now())}
        try:
            with self.database.writing() as connection:
                _check_free(connection, name, public)
                if artist_id is not None and connection.execute(select(artists.c.id).where(artists.c.id == artist_id)).first() is None:
                    raise Unknown.of("artist", artist_id)
                connection.execute(insert(people).values(row))
        except IntegrityError as error:
            raise Conflict(f"the name {name!r} is taken; choose another") from error
        return person

    def grow(self, guest: Person, name: str, password: str) -> Person:
        """A guest signs up: the same person, with what they made, under a name and a password of their own. Raises as `add` does."""
        creator_account(name)
        check_password(password)
        row = {"name": name, "password": _hasher().hash(password), "role": "creator"}  # type: ignore[attr-defined]
        try:
            with self.database.writing() as connection:
                _check_free(connection, name, True)
                connection.execute(update(people).where(people.c.id == guest.id, people.c.role == "guest").values(row))
        except IntegrityError as error:
            raise Conflict(f"the name {name!r} is taken; choose another") from error
        return self.of_id(guest.id)

    def owner(self) -> Person:
        """The person of a laptop, made the first time."""
        found = self.named(OWNER)
        if found is None:
            try:
                return self.add(OWNER, None, "operator")
            except Conflict:  # another process was first
                found = self.named(OWNER)
                assert found is not None
        return found

    def guest(self) -> Person:
        """A new person without a password."""
        return self.add(f"guest-{secrets.token_hex(6)}", None, "guest")

    def named(self, name: str) -> Person | None:
        with self.database.reading() as connection:
            row = connection.execute(select(people).where(people.c.name == name, people.c.disabled.is_(None))).one_or_none()
        return person_of(row) if row else None

    def of_id(self, person_id: str) -> Person:
        with self.database.reading() as connection:
            row = connection.execute(select(people).where(people.c.id == person_id)).one_or_none()
        if row is None:
            raise Unknown.of("person", person_id)
        return person_of(row)

    def all(self, limit: int = 500) -> list[dict[str, object]]:
        """Everybody but guests, newest first, for the operator."""
        with self.database.reading() as connection:
            rows = connection.execute(select(people).where(people.c.role != "guest").order_by(people.c.created.desc()).limit(limit)).all()
        return [{**person_of(row).document(), "created": row.created, "disabled": row.disabled} for row in rows]

    def have_operator(self) -> bool:
        """Whether an operator can sign in with a password."""
        with self.database.reading() as connection:
            signs_in = (people.c.role == "operator", people.c.password.is_not(None), people.c.disabled.is_(None))
            return bool(connection.execute(select(func.count()).select_from(people).where(*signs_in)).scalar_one())

    def check(self, name: str, password: str) -> Person:
        """The person whose name and password these are. Raises Denied, after as long for a name that there is not."""
        from argon2.exceptions import InvalidHashError, VerificationError

        with self.database.reading() as connection:
            row = connection.execute(select(people).where(people.c.name == name, people.c.disabled.is_(None))).one_or_none()
        hasher = _hasher()
        if self._nobody is None:
            self._nobody = hasher.hash(secrets.token_hex(16))  # type: ignore[attr-defined]
        try:
            hasher.verify(row.password if row is not None and row.password else self._nobody, password[: PASSWORD_MAX + 1])  # type: ignore[attr-defined]
        except (VerificationError, InvalidHashError) as error:
            raise Denied("name and password do not fit; try again") from error
        if row is None or not row.password:
            raise Denied("name and password do not fit; try again")
        return person_of(row)

    def set_password(self, person: Person, password: str) -> None:
        """A new password; every session and key of the person ends."""
        check_password(password)
        hashed = _hasher().hash(password)  # type: ignore[attr-defined]
        with self.database.writing() as connection:
            connection.execute(update(people).where(people.c.id == person.id).values(password=hashed))
            _end_all(connection, person.id)

    def disable(self, person_id: str) -> None:
        """From now on this person cannot sign in; what they made and own stays."""
        with self.database.writing() as connection:
            done = connection.execute(update(people).where(people.c.id == person_id, people.c.disabled.is_(None)).values(disabled=moment(utc_now())))
            if done.rowcount == 0 and connection.execute(select(people.c.id).where(people.c.id == person_id)).first() is None:
                raise Unknown.of("person", person_id)
            _end_all(connection, person_id)

    def open_session(self, person: Person) -> str:
        """A token for a cookie."""
        token, now = secrets.token_urlsafe(32), utc_now()
        ends = now + timedelta(days=GUEST_DAYS if person.role == "guest" else SESSION_DAYS)
        row = {"token_sha256": sha256(token.encode()), "person_id": person.id, "created": moment(now), "expires": moment(ends)}
        with self.database.writing() as connection:
            connection.execute(delete(sessions).where(sessions.c.expires < moment(now)))
            connection.execute(insert(sessions).values(row))
        return token

    def of_session(self, token: str) -> Person | None:
        good = (sessions.c.token_sha256 == sha256(token.encode()), sessions.c.expires > moment(utc_now()), people.c.disabled.is_(None))
        with self.database.reading() as connection:
            row = connection.execute(select(people).join(sessions, sessions.c.person_id == people.c.id).where(*good)).one_or_none()
        return person_of(row) if row else None

    def close_session(self, token: str) -> None:
        with self.database.writing() as connection:
            connection.execute(delete(sessions).where(sessions.c.token_sha256 == sha256(token.encode())))

    def new_key(self, person: Person, label: str) -> tuple[str, str]:
        """(its id, the key itself, which is shown once and never again)"""
        if not 1 <= len(label.strip()) <= 100:
            raise InvalidInput("a key needs a label of 1 to 100 characters, so that you know which one to revoke")
        key, key_id = KEY_PREFIX + secrets.token_urlsafe(32), secrets.token_hex(8)
        row = {"id": key_id, "key_sha256": sha256(key.encode()), "person_id": person.id, "label": label.strip(), "created": moment(utc_now())}
        with self.database.writing() as connection:
            connection.execute(insert(api_keys).values(row))
        return key_id, key

    def keys_of(self, person: Person) -> list[dict[str, object]]:
        with self.database.reading() as connection:
            rows = connection.execute(select(api_keys).where(api_keys.c.person_id == person.id).order_by(api_keys.c.created)).all()
        return [{"id": row.id, "label": row.label, "created": row.created, "revoked": row.revoked} for row in rows]

    def revoke_key(self, person: Person, key_id: str) -> None:
        mine = (api_keys.c.id == key_id, api_keys.c.person_id == person.id)
        with self.database.writing() as connection:
            if connection.execute(select(api_keys.c.id).where(*mine)).first() is None:
                raise Unknown.of("key", key_id)
            connection.execute(update(api_keys).where(*mine, api_keys.c.revoked.is_(None)).values(revoked=moment(utc_now())))

    def of_key(self, key: str) -> Person:
        """Raises Denied for a key that is not good."""
        good = (api_keys.c.key_sha256 == sha256(key.encode("utf-8", "replace")), api_keys.c.revoked.is_(None), people.c.disabled.is_(None))
        with self.database.reading() as connection:
            row = connection.execute(select(people).join(api_keys, api_keys.c.person_id == people.c.id).where(*good)).one_or_none()
        if row is None:
            raise Denied("that API key is not good, or was revoked; make one on your account's page")
        return person_of(row)


def _check_free(connection: Connection, name: str, public: bool) -> None:
    if connection.execute(select(people.c.id).where(func.lower(people.c.name) == name.lower())).first() is not None:
        raise Conflict(f"the name {name!r} is taken; choose another")
    if public and connection.execute(select(balances.c.account).where(func.lower(balances.c.account) == f"creator:{name.lower()}")).first() is not None:
        raise Conflict(f"the name {name!r} is taken; choose another")


def _end_all(connection: Connection, person_id: str) -> None:
    connection.execute(delete(sessions).where(sessions.c.person_id == person_id))
    still = (api_keys.c.person_id == person_id, api_keys.c.revoked.is_(None))
    connection.execute(update(api_keys).where(*still).values(revoked=moment(utc_now())))
