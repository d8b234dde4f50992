"""Jobs: what was accepted, whose turn it is, how far it is, how it ended. The rows are the truth; who draws them is in `dispatch`.

    queued → running → done | failed | cancelled        queued → cancelled

A picture and its place in its job are written in one database transaction, and that place is unique, so a job that is drawn twice, because its
worker was taken for dead, keeps one set of pictures. Turns are fair between people (start-time fair queueing; Goyal et al. 1996): a job's
turn is one after its person's last, and never before what is being drawn already, so whoever asks for a hundred waits behind whoever asks for one.
"""

from __future__ import annotations

import secrets
import threading
import time
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, Row, and_, delete, func, insert, or_, select, update

from tribute.commission import Ask
from tribute.records import Busy, Conflict, Interrupted, InvalidInput, Picture, Record, Unknown, canonical, sha256, utc_now
from tribute.store.database import Database, insert_new, moment
from tribute.store.schema import gallery, jobs, previews, workers

State = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED = ("done", "failed", "cancelled")
WAITING_EACH, WAITING_GUEST, WAITING_ALL = 12, 2, 400
ATTEMPTS_MAX = 20  # a job whose worker died so often is given up
JOBS_LOCK = 20261124  # PostgreSQL advisory lock; SQLite's own write lock does the same
LATE_S = 10.0  # without a sign of life a running job's worker is taken for dead


class Job(Record):
    """One ask on its way. `done` and `total` count denoising steps."""

    id: str
    person_id: str
    state: State
    ask: Ask
    parent_id: str | None
    created: datetime
    started: datetime | None
    finished: datetime | None
    stage: str
    done: int
    total: int
    attempts: int
    stop: bool
    error: str | None
    worker: str | None
    pictures: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def part(self) -> float:
        """How much of it is done, in [0, 1]."""
        return 1.0 if self.state == "done" else min(1.0, self.done / self.total) if self.total else 0.0


def _job(row: Row[Any], made: tuple[str, ...]) -> Job:
    known = row._asdict()
    return Job(**{name: known[name] for name in Job.model_fields if name not in ("ask", "pictures", "stop")},
               ask=Ask.model_validate_json(row.ask), stop=bool(row.stop), pictures=made)  # fmt: skip


def _made(connection: Connection, ids: list[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for row in connection.execute(select(gallery.c.job_id, gallery.c.picture_id).where(gallery.c.job_id.in_(ids)).order_by(gallery.c.number)):
        found[row.job_id] = (*found.get(row.job_id, ()), row.picture_id)
    return found


class Jobs:
    def __init__(self, database: Database) -> None:
        self.database = database
        self._changed = threading.Condition()

    def submit(
        self, person_id: str, ask: Ask, *, most: int = WAITING_EACH, parent_id: str | None = None, key: str | None = None, job_id: str | None = None,
        asked: str = "",
    ) -> Job:  # fmt: skip
        """Accepts a job: from here on it is finished, failed with a reason, or cancelled by somebody, whatever dies in between.

        Said twice with one `key`, it is one job; `asked` is what a retry must repeat, the ask itself by default. Raises Busy where this
        person or the studio has too many waiting, Conflict for a key or an id of another job.
        """
        if key is not None and not 1 <= len(key) <= 100:
            raise InvalidInput(f"the idempotency key has {len(key)} characters; give 1 to 100")
        document, job_id = canonical(ask.document()).decode(), job_id or secrets.token_hex(12)
        with self.database.writing() as connection:
            _lock(connection)
            if key is not None:
                before = self._of_key(connection, person_id, key, asked or document)
                if before is not None:
                    return before
            if connection.execute(select(jobs.c.id).where(jobs.c.id == job_id)).first() is not None:
                raise Conflict(f"there is a job {job_id[:80]!r} already; give another id")
            mine, everybody = (
                connection.execute(select(func.count()).select_from(jobs).where(jobs.c.state.in_(("queued", "running")), *more)).scalar_one()
                for more in ((jobs.c.person_id == person_id,), ())
            )
            if mine >= most:
                raise Busy(f"{mine} of your jobs wait already; say it again when one is done")
            if everybody >= WAITING_ALL:
                raise Busy(f"{everybody} jobs wait already; say it again in a minute")
            own = select(func.max(jobs.c.turn)).where(jobs.c.person_id == person_id, jobs.c.state == "queued")
            now_drawn = select(func.max(jobs.c.turn)).where(jobs.c.state == "running")
            last = select(func.max(jobs.c.turn)).where(jobs.c.state.in_(ENDED), jobs.c.started.is_not(None))
            turn = 1 + max(connection.execute(query).scalar_one() or 0 for query in (own, now_drawn, last))
            row = {"id": job_id, "person_id": person_id, "key": key, "state": "queued", "ask": document, "parent_id": parent_id, "turn": turn}
            row["asked_sha256"] = sha256((asked or document).encode()) if key is not None else None
            connection.execute(insert(jobs).values(**row, created=moment(utc_now())))
        return self.get(job_id)

    def of_key(self, person_id: str, key: str, asked: str) -> Job | None:
        """The job that this person asked for with this key. Raises Conflict where they asked for something else."""
        with self.database.reading() as connection:
            return self._of_key(connection, person_id, key, asked)

    @staticmethod
    def _of_key(connection: Connection, person_id: str, key: str, asked: str) -> Job | None:
        row = connection.execute(select(jobs).where(jobs.c.person_id == person_id, jobs.c.key == key)).one_or_none()
        if row is not None and row.asked_sha256 != sha256(asked.encode()):
            raise Conflict(f"the key {key!r} was used before for another job; give a new key")
        return None if row is None else _job(row, _made(connection, [row.id]).get(row.id, ()))

    def get(self, job_id: str) -> Job:
        with self.database.reading() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()
            if row is None:
                raise Unknown.of("job", job_id)
            return _job(row, _made(connection, [job_id]).get(job_id, ()))

    def turn_of(self, job_id: str) -> int:
        with self.database.reading() as connection:
            return int(connection.execute(select(jobs.c.turn).where(jobs.c.id == job_id)).scalar_one())

    def find(self, *where: Any, limit: int = 100, newest: bool = True) -> list[Job]:
        with self.database.reading() as connection:
            order = (jobs.c.created.desc(), jobs.c.id) if newest else (jobs.c.turn, jobs.c.created)
            rows = connection.execute(select(jobs).where(*where).order_by(*order).limit(limit)).all()
            made = _made(connection, [row.id for row in rows])
        return [_job(row, made.get(row.id, ())) for row in rows]

    def waiting(self, person_id: str | None = None) -> list[Job]:
        """Queued and running jobs, all or one person's, in the order of their turns."""
        mine = [] if person_id is None else [jobs.c.person_id == person_id]
        return self.find(jobs.c.state.in_(("queued", "running")), *mine, limit=WAITING_ALL, newest=False)

    def counts(self) -> dict[str, int]:
        with self.database.reading() as connection:
            return dict(connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state)).tuples().all())

    def next_turn(self) -> str | None:
        """The queued job whose turn it is."""
        with self.database.reading() as connection:
            first = select(jobs.c.id).where(jobs.c.state == "queued").order_by(jobs.c.turn, jobs.c.created).limit(1)
            found: str | None = connection.execute(first).scalar_one_or_none()
            return found

    def start(self, job_id: str, worker: str) -> Job | None:
        """Takes a job on, from whoever drew it before; None where it has ended."""
        with self.database.writing() as connection:
            _lock(connection)
            row = connection.execute(select(jobs.c.state, jobs.c.attempts, jobs.c.worker).where(jobs.c.id == job_id)).one_or_none()
            if row is None or row.state in ENDED:
                return None
            if row.attempts >= ATTEMPTS_MAX:
                self._end(connection, job_id, "failed", f"its worker died {row.attempts} times while it was drawn; it was given up")
                return None
            values = {"state": "running", "worker": worker, "attempts": row.attempts + 1, "done": 0, "total": 0, "stage": "drawing"}
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values, started=moment(utc_now())))
        self._tell()
        return self.get(job_id)

    def step(self, job_id: str, worker: str, done: int, total: int, stage: str, seen: tuple[int, list[bytes]] | None = None) -> None:
        """Says how far it is; `seen` is the first number and how the pictures look from there on. Raises Interrupted where it is to stop."""
        with self.database.writing() as connection:
            mine = (jobs.c.id == job_id, jobs.c.state == "running", jobs.c.worker == worker)
            told = connection.execute(update(jobs).where(*mine, jobs.c.stop == 0).values(done=done, total=total, stage=stage))
            if told.rowcount == 0:
                raise Interrupted("stopped")
            if seen:
                first, views = seen
                numbers = range(first, first + len(views))
                connection.execute(delete(previews).where(previews.c.job_id == job_id, previews.c.number.in_(numbers)))
                rows = [{"job_id": job_id, "number": at, "step": done, "png": png} for at, png in zip(numbers, views, strict=True)]
                connection.execute(insert(previews), rows)
        self._tell()

    def keep_picture(self, connection: Connection, job: Job, worker: str, number: int, picture: Picture) -> None:
        """Within the transaction that stores a picture: its place in its job. Raises Interrupted where the job is not this worker's any more."""
        _lock(connection)
        mine = select(jobs.c.id).where(jobs.c.id == job.id, jobs.c.state == "running", jobs.c.worker == worker, jobs.c.stop == 0)
        if connection.execute(mine).first() is None:
            raise Interrupted("stopped")
        row = {"picture_id": picture.id, "person_id": job.person_id, "job_id": job.id, "number": number, "parent_id": job.parent_id}
        connection.execute(insert(gallery).values(**row, created=moment(picture.created)))

    def end(self, job_id: str, worker: str, state: State, error: str | None = None) -> None:
        """`done` only where all its pictures are there."""
        with self.database.writing() as connection:
            _lock(connection)
            row = connection.execute(select(jobs.c.state, jobs.c.worker, jobs.c.ask).where(jobs.c.id == job_id)).one()
            if row.state != "running" or row.worker != worker:
                return
            count = connection.execute(select(func.count()).select_from(gallery).where(gallery.c.job_id == job_id)).scalar_one()
            assert state != "done" or count == Ask.model_validate_json(row.ask).count
            self._end(connection, job_id, state, error)
        self._tell()

    @staticmethod
    def _end(connection: Connection, job_id: str, state: State, error: str | None) -> None:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(state=state, error=error, finished=moment(utc_now())))
        connection.execute(delete(previews).where(previews.c.job_id == job_id))

    def cancel(self, job_id: str) -> Job:
        """Ends a queued job at once; one that is drawn stops before its next step. Ended jobs stay as they are."""
        with self.database.writing() as connection:
            _lock(connection)
            state = connection.execute(select(jobs.c.state).where(jobs.c.id == job_id)).scalar_one_or_none()
            if state is None:
                raise Unknown.of("job", job_id)
            if state == "queued":
                self._end(connection, job_id, "cancelled", None)
            elif state == "running":
                connection.execute(update(jobs).where(jobs.c.id == job_id).values(stop=1))
        self._tell()
        return self.get(job_id)

    def abandoned(self, alive: set[str]) -> list[str]:
        """Running jobs whose worker is not among those alive, given back to the queue."""
        with self.database.writing() as connection:
            _lock(connection)
            lost = and_(jobs.c.state == "running", or_(jobs.c.worker.is_(None), jobs.c.worker.not_in(alive)))
            ids = list(connection.execute(select(jobs.c.id).where(lost)).scalars())
            stopping = and_(jobs.c.id.in_(ids), jobs.c.stop == 1)
            for job_id in connection.execute(select(jobs.c.id).where(stopping)).scalars().all():
                self._end(connection, job_id, "cancelled", None)
            connection.execute(update(jobs).where(jobs.c.id.in_(ids), jobs.c.stop == 0).values(state="queued", worker=None, stage=""))
        if ids:
            self._tell()
        return ids

    def give_back(self, job: Job, worker: str) -> None:
        """A job that nobody draws, though its row says that it waits or that `worker` does. Its number of attempts is one more, once."""
        seen = (jobs.c.id == job.id, jobs.c.state == job.state, jobs.c.attempts == job.attempts, or_(jobs.c.worker == worker, jobs.c.state == "queued"))
        with self.database.writing() as connection:
            connection.execute(update(jobs).where(*seen).values(state="queued", worker=None, stage="", attempts=job.attempts + 1))

    def preview(self, job_id: str, number: int) -> bytes | None:
        with self.database.reading() as connection:
            found: bytes | None = connection.execute(
                select(previews.c.png).where(previews.c.job_id == job_id, previews.c.number == number)
            ).scalar_one_or_none()
            return found

    def previewed(self, job_id: str) -> dict[int, int]:
        """number → the step of its last view"""
        with self.database.reading() as connection:
            return dict(connection.execute(select(previews.c.number, previews.c.step).where(previews.c.job_id == job_id)).tuples().all())

    def wait(self, job_id: str, timeout_s: float) -> Job:
        """Until it has ended or changed, or the time is over."""
        until = time.monotonic() + timeout_s
        while True:
            job = self.get(job_id)
            left = until - time.monotonic()
            if job.ended or left <= 0:
                return job
            with self._changed:
                self._changed.wait(min(left, 0.25))  # another process's work is not heard of otherwise

    def changed(self, timeout_s: float) -> None:
        """Waits for any change in this process."""
        with self._changed:
            self._changed.wait(timeout_s)

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({JOBS_LOCK})")


def seen_since(now: datetime) -> str:
    """Who was seen before this moment is taken for dead."""
    return moment(now - timedelta(seconds=LATE_S))


def beat(database: Database, worker: str, model: str) -> None:
    """A worker's sign of life."""
    with database.writing() as connection:
        insert_new(connection, workers, [{"id": worker, "seen": moment(utc_now()), "model": model}])
        connection.execute(update(workers).where(workers.c.id == worker).values(seen=moment(utc_now()), model=model))


def alive(database: Database) -> dict[str, tuple[str, str]]:
    """worker → (when it was last seen, its model), of those that are not late"""
    with database.reading() as connection:
        rows = connection.execute(select(workers).where(workers.c.seen >= seen_since(utc_now()))).all()
    return {row.id: (row.seen, row.model) for row in rows}


def late(database: Database) -> list[str]:
    """Workers that gave no sign of life for LATE_S."""
    with database.reading() as connection:
        return list(connection.execute(select(workers.c.id).where(workers.c.seen < seen_since(utc_now()))).scalars())


def bury(database: Database, worker: str) -> None:
    """Forgets a worker that is late still."""
    with database.writing() as connection:
        connection.execute(delete(workers).where(workers.c.id == worker, workers.c.seen < seen_since(utc_now())))
