"""Who draws the jobs: DBOS workflows on SQLite or PostgreSQL, or a plain thread, the twin for tests.

Each job is a durable workflow in a queue that gives every worker one job at a time, in the order of their turns. DBOS runs a dead worker's jobs
again only when a worker of the same name starts (its Conductor apart), so here every worker says every two seconds that it lives, and whoever finds
one that has not for `LATE_S` takes its jobs over. A job whose row was written but whose workflow was not, because of a kill in between, is found the same way.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from tribute.records import Conflict, utc_now
from tribute.store.database import Database
from tribute.studio.jobs import Job, Jobs, alive, beat, bury, late

QUEUE, BEAT_S, POLL_S = "drawing", 2.0, 0.1
SENT_S = 5.0  # a job is sent within it, or was not
log = logging.getLogger("tribute.worker")
Work = Callable[[str], None]


class Dispatch(Protocol):
    worker: str

    def open(self, work: Work | None, rest: Callable[[], None] = lambda: None) -> None:
        """Begins to hand out jobs to `work`; without it, jobs are sent and others draw them. `rest` is said when nobody waits."""
        ...

    def send(self, job: Job) -> None:
        """Has an accepted job drawn, by whoever is free first. Said twice, it is drawn once."""
        ...

    def close(self) -> None: ...


class Threads:
    """The twin: one thread that takes the job whose turn it is. Jobs outlive the process in their rows alone."""

    def __init__(self, jobs: Jobs, worker: str = "local") -> None:
        self.jobs, self.worker = jobs, worker
        self._there, self._over = threading.Event(), False
        self._thread: threading.Thread | None = None

    def open(self, work: Work | None, rest: Callable[[], None] = lambda: None) -> None:
        if work is not None:
            self.jobs.abandoned(set())
            self._thread = threading.Thread(target=self._run, args=(work, rest), daemon=True, name="worker")
            self._thread.start()

    def _run(self, work: Work, rest: Callable[[], None]) -> None:
        while not self._over:
            job_id = self.jobs.next_turn()
            if job_id is None:
                rest()
                self._there.wait(0.5)
                self._there.clear()
            else:
                try:
                    work(job_id)
                except Exception:  # the database is down, say; the job is given back
                    log.exception("job %s is given back", job_id)
                    self.jobs.abandoned(set())
                    self._there.wait(0.5)

    def send(self, job: Job) -> None:
        self._there.set()

    def close(self) -> None:
        self._over = True
        self._there.set()
        if self._thread is not None:
            self._thread.join(timeout=30)


class Durable:
    """DBOS. On SQLite one process works on a data folder, under one name; on PostgreSQL any number do."""

    def __init__(self, database: Database, jobs: Jobs, home: Path, model: Callable[[], str] = lambda: "") -> None:
        self.database, self.jobs, self.home, self.model = database, jobs, home, model
        self.fleet = database.url.get_backend_name() == "postgresql"
        self.worker = f"{socket.gethostname()[:60]}-{os.getpid()}-{secrets.token_hex(3)}" if self.fleet else "local"
        self._over = threading.Event()
        self._keeper: threading.Thread | None = None
        self._held: Any = None
        self._dbos: Any = None
        self._draw: Any = None

    def open(self, work: Work | None, rest: Callable[[], None] = lambda: None) -> None:
        from dbos import DBOS

        if not self.fleet:
            self._hold()
        url = self.database.url.set(drivername="postgresql") if self.fleet else f"sqlite:///{self.home / 'jobs.db'}"
        address = url if isinstance(url, str) else url.render_as_string(hide_password=False)
        self._dbos = DBOS
        DBOS(config={"name": "tribute", "system_database_url": address, "executor_id": self.worker, "application_version": "1", "log_level": "ERROR",
                     "console_log_level": "ERROR", "enable_otlp": False, "notification_listener_polling_interval_sec": 1.0})  # fmt: skip

        @DBOS.step(name="draw")  # type: ignore[untyped-decorator]
        def draw_step(job_id: str) -> None:
            assert work is not None
            work(job_id)

        @DBOS.workflow(name="draw", max_recovery_attempts=1000)  # type: ignore[untyped-decorator]
        def draw(job_id: str) -> None:
            draw_step(job_id)

        self._draw = draw
        if work is None:
            DBOS.listen_queues([])
        else:
            beat(self.database, self.worker, self.model())
            if not self.fleet:
                self.jobs.abandoned(set())  # this is the only worker, and it draws nothing yet
        DBOS.launch()
        DBOS.register_queue(QUEUE, worker_concurrency=1, polling_interval_sec=POLL_S)
        if work is not None:
            self.look_after()
            self._keeper = threading.Thread(target=self._keep, daemon=True, name="keeper")
            self._keeper.start()
            threading.Thread(target=self._rest, args=(rest,), daemon=True, name="rest").start()

    def _hold(self) -> None:
        """Raises Conflict where another studio works on this data folder."""
        import fcntl

        self.home.mkdir(parents=True, exist_ok=True)
        self._held = (self.home / "studio.lock").open("w")
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(f"a studio works on {self.home} already; stop it first, or set TRIBUTE_DATABASE to a PostgreSQL for several") from error

    def send(self, job: Job) -> None:
        from dbos import SetEnqueueOptions, SetWorkflowID

        with SetWorkflowID(f"{job.id}.{job.attempts}"), SetEnqueueOptions(priority=max(1, self.jobs.turn_of(job.id))):
            self._dbos.enqueue_workflow(QUEUE, self._draw, job.id)

    def look_after(self) -> None:
        """Takes over what dead workers left, and sends what was accepted and never sent."""
        beat(self.database, self.worker, self.model())
        for gone in late(self.database):
            if gone != self.worker:
                self._dbos._recover_pending_workflows([gone])  # re-enqueues them, each once, whoever else says so
            bury(self.database, gone)  # after it: whoever is killed in between does it again
        self.jobs.abandoned({self.worker, *alive(self.database)})
        open_jobs = self.jobs.waiting()
        if open_jobs:  # read before what is under way: a job that ends in between is not taken for lost
            under_way = self._dbos.list_workflows(status=["ENQUEUED", "PENDING", "DELAYED"], load_input=False, load_output=False)
            known = {one.workflow_id.rpartition(".")[0] for one in under_way}
            lost = [job for job in open_jobs if job.id not in known and (job.state == "queued" or job.worker == self.worker)]
            for job in lost:
                if job.state == "running" or (utc_now() - job.created).total_seconds() > SENT_S:
                    self.jobs.give_back(job, self.worker)  # under a new number: a workflow that failed once is not run again
                self.send(self.jobs.get(job.id))

    def _keep(self) -> None:
        while not self._over.wait(BEAT_S):
            try:
                self.look_after()
            except Exception:  # a database that is down for a while is no reason to stop looking
                log.exception("the worker could not look after its jobs; it tries again")

    def _rest(self, rest: Callable[[], None]) -> None:
        while not self._over.wait(BEAT_S):
            try:
                if self.jobs.next_turn() is None:
                    rest()
            except Exception:
                log.exception("what waited for a quiet moment failed; it is tried again")

    def close(self) -> None:
        self._over.set()
        if self._keeper is not None:
            self._keeper.join(timeout=10)
        if self._dbos is not None:
            self._dbos.destroy(workflow_completion_timeout_sec=0)
        if self._held is not None:
            self._held.close()
