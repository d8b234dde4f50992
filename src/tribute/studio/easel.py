"""The resident model and what is being drawn on it: one picture after the other, each with its progress, each to be stopped alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tribute.records import Conflict, Picture, TributeError
from tribute.studio.wiring import Workshop

WAITING_MAX = 16


class Busy(TributeError):
    """Too many wait already."""


class Interrupted(TributeError):
    """Somebody stopped this one."""


@dataclass
class Task:
    """One ask on its way. `done` and `total` count denoising steps."""

    id: str
    started: float = field(default_factory=time.time)
    done: int = 0
    total: int = 0
    drawing: bool = False
    stopped: bool = False


class Easel:
    """What the web page and the HTTP interfaces draw with."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.tasks: dict[str, Task] = {}
        self._model: Any = None
        self._loading, self._turn, self._mutex = threading.Lock(), threading.Lock(), threading.Lock()

    @property
    def loaded(self) -> bool:
        return self._model is not None

    def model(self) -> Any:
        """Loaded when it is first needed."""
        with self._loading:
            if self._model is None:
                self._model = self.workshop.model()
            return self._model

    @contextmanager
    def _task(self, task_id: str) -> Iterator[Task]:
        with self._mutex:
            if len(self.tasks) >= WAITING_MAX:
                raise Busy(f"{len(self.tasks)} pictures wait already; say it again in a few seconds")
            if task_id in self.tasks:
                raise Conflict(f"the task {task_id[:80]!r} is running; give another id")
            task = self.tasks[task_id] = Task(task_id)
        try:
            yield task
        finally:
            with self._mutex:
                del self.tasks[task_id]

    def draw(self, ask: Any, task_id: str, watch: Any = None) -> list[Picture]:
        """Commissions `ask` when its turn comes. Raises Busy, Interrupted (nothing is stored then), or what commission raises."""
        from tribute.commission import commission

        with self._task(task_id) as task, self._turn:

            def progress(done: int, total: int) -> None:
                task.done, task.total = done, total
                if task.stopped:
                    raise Interrupted("stopped")

            task.drawing = True
            progress(0, 0)
            return commission(self.workshop.desk(), self.model(), ask, progress=progress, watch=watch)

    def current(self) -> Task | None:
        """The one that is being drawn."""
        with self._mutex:
            return next((task for task in self.tasks.values() if task.drawing), None)

    def find(self, task_id: str) -> Task | None:
        with self._mutex:
            return self.tasks.get(task_id)

    def stop(self, task_id: str | None) -> bool:
        """Stops the task of that id, or the one that is being drawn; True where there was one."""
        task = self.find(task_id) if task_id else self.current()
        if task is None:
            return False
        task.stopped = True
        return True
