"""The resident model of a worker, and drawing one job on it.

One model is resident at a time; when another is asked for, the memory of the one before is given back first.
"""

from __future__ import annotations

import ctypes
import gc
import io
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from sqlalchemy import Connection, select

from tribute.records import Interrupted, Picture, TributeError, Unknown
from tribute.store.database import Unavailable
from tribute.store.schema import gallery
from tribute.studio.jobs import Job, Jobs
from tribute.studio.wiring import Workshop

TELL_S, VIEW_S = 0.08, 0.25  # progress and views are written no more often than this

log = logging.getLogger("tribute.worker")


def release_memory() -> None:
    """Gives freed memory back to the system, where the C library keeps it."""
    gc.collect()
    if sys.platform == "linux":
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        except (OSError, AttributeError):  # another C library
            return


def png_of(picture_HWC: np.ndarray) -> bytes:
    written = io.BytesIO()
    Image.fromarray(picture_HWC).save(written, "PNG", compress_level=1)
    return written.getvalue()


class Easel:
    def __init__(self, workshop: Workshop, jobs: Jobs, worker: str = "local") -> None:
        self.workshop, self.jobs, self.worker = workshop, jobs, worker
        self._model: Any = None
        self._name = ""
        self._loading = threading.Lock()
        self._hopeless: set[str] = set()
        self._owing = True  # whether pictures may wait for their credit: looked up once, then whenever one was made

    @property
    def loaded(self) -> str:
        """The resident model's name, or nothing."""
        return self._name

    def resident(self, name: str = "") -> Any:
        """The model of that name where it is loaded already, or None."""
        return self._model if self._name == (name or self.workshop.settings.model) else None

    def model(self, name: str = "") -> Any:
        """The model of that name, the studio's own by default; loaded when it is first needed. Raises Unknown for one that is not offered."""
        name = name or self.workshop.settings.model
        if name not in self.workshop.settings.offered:
            raise Unknown.of("model", name, self.workshop.settings.offered)
        with self._loading:
            if self._name != name:
                if self._model is not None:
                    with self._model.lock:  # whoever draws with it ends first
                        self._model, self._name = None, ""
                    release_memory()
                self._model, self._name = self.workshop.model(name), name
            return self._model

    def work(self, job_id: str) -> None:
        """Draws a job's pictures that are not there yet and ends the job. Never raises what the job's person can act on."""
        job = self.jobs.start(job_id, self.worker)
        if job is None:
            return
        try:
            self._draw(job)
            self.jobs.end(job.id, self.worker, "done")
        except Interrupted:
            self.jobs.end(job.id, self.worker, "cancelled")
        except Unavailable:
            raise  # the database's trouble is not the job's: it is given back and drawn when that is over
        except TributeError as error:
            self.jobs.end(job.id, self.worker, "failed", str(error))
        except Exception:
            log.exception("job %s failed", job.id)
            self.jobs.end(job.id, self.worker, "failed", "something went wrong in the studio; its operator can find it in the log under this job's id")

    def rest(self) -> None:
        """When nobody waits: works off the credit of one picture that is pending."""
        from tribute.commission import pending_pictures, work_off

        model = self._model
        if not self._owing or model is None:
            return
        waits = [one for one in pending_pictures(self.workshop.database) if one.id not in self._hopeless and one.recipe.model_sha256 == model.sha256]
        self._owing = len(waits) > 1
        for picture in waits[:1]:
            try:
                work_off(self.workshop.database, self.workshop.blobs, model, picture)
            except TributeError:
                self._hopeless.add(picture.id)  # its artist left, say; the others must not wait for it
                log.exception("the credit of picture %s could not be worked off", picture.id)

    def _draw(self, job: Job) -> None:
        from tribute.commission import commission

        with self.workshop.database.reading() as connection:
            there = places_of(connection, job.id)
        if len(there) == job.ask.count:
            return
        ask = job.ask.model_copy(update={"skip": there})
        numbers = [at for at in range(ask.count) if at not in there]
        told, seen = [0.0], [time.monotonic()]
        stage = ["drawing"]

        def progress(done: int, total: int) -> None:
            now = time.monotonic()
            if done == total or now - told[0] >= TELL_S:
                told[0] = now
                self.jobs.step(job.id, self.worker, done, total, stage[0])

        def staged(name: str) -> None:
            stage[0] = name

        def watch(first: int, done: int, total: int, look: Callable[[], np.ndarray]) -> None:
            if time.monotonic() - seen[0] >= VIEW_S and done < total:
                views = [png_of(view_HWC) for view_HWC in look()]
                self.jobs.step(job.id, self.worker, done, total, stage[0], (numbers[first], views))
                seen[0] = time.monotonic()

        def also(connection: Connection, number: int, picture: Picture) -> None:
            self.jobs.keep_picture(connection, job, self.worker, number, picture)

        made = commission(self.workshop.desk(), self.model(ask.model), ask, progress, staged, watch, also)
        self._owing = self._owing or any(picture.credits is None for picture in made)


def places_of(connection: Connection, job_id: str) -> tuple[int, ...]:
    """Which of a job's pictures are stored already."""
    return tuple(connection.execute(select(gallery.c.number).where(gallery.c.job_id == job_id).order_by(gallery.c.number)).scalars())
