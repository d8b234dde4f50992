"""What every face of the studio works with, and the few things that they all do: ask, wait, show, keep."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select

from tribute.commission import PLAYERS_MAX, Ask, check_ask, keep, keep_all, unseeded
from tribute.create.prompt import Wish, read_wish
from tribute.ledger.book import balance_micro, creator_account
from tribute.records import Busy, Interrupted, InvalidInput, Pending, Picture, Unknown, utc_now
from tribute.store.database import moment
from tribute.store.schema import gallery, jobs
from tribute.studio.dispatch import Dispatch, Durable, Threads
from tribute.studio.easel import Easel
from tribute.studio.gallery import Gallery, kept_key, times_kept
from tribute.studio.jobs import WAITING_EACH, WAITING_GUEST, Job, Jobs
from tribute.studio.people import People, Person
from tribute.studio.wiring import Workshop

WAITERS_EACH, WAITERS_ALL = 12, 100
PATIENCE_S = 600.0  # how long a program that waits for its pictures is kept waiting


@dataclass(frozen=True)
class Floor:
    workshop: Workshop
    people: People
    jobs: Jobs
    gallery: Gallery
    easel: Easel
    dispatch: Dispatch
    accounts: bool = False  # people sign in; without it whoever reaches the port is the owner
    waiters: dict[str, int] = field(default_factory=dict)  # person → requests of theirs that are kept waiting
    mutex: threading.Lock = field(default_factory=threading.Lock)

    def submit(
        self, person: Person, ask: Ask, *, parent_id: str | None = None, key: str | None = None, job_id: str | None = None, asked: str = ""
    ) -> Job:  # fmt: skip
        """Accepts a job and has it drawn. Raises what `Jobs.submit` does, and Busy for a guest who had a day's pictures."""
        if key is not None and asked:
            before = self.jobs.of_key(person.id, key, asked)
            if before is not None:
                return before
        most = WAITING_EACH
        if person.role == "guest":
            most, allowed = WAITING_GUEST, self.workshop.settings.guest_pictures
            if self.drawn_today(person) + ask.count > allowed:
                raise Busy(f"guests may have {allowed} pictures a day; sign up to have more")
        if ask.model and ask.model not in self.workshop.settings.offered:
            raise Unknown.of("model", ask.model, self.workshop.settings.offered)
        resident = self.easel.resident(ask.model)
        with self.workshop.database.reading() as connection:
            check_ask(connection, ask, resident)
        job = self.jobs.submit(person.id, ask, most=most, parent_id=parent_id, key=key, job_id=job_id, asked=asked)
        if not job.ended:
            self.dispatch.send(job)
        return job

    def drawn_today(self, person: Person) -> int:
        """Pictures of the last 24 hours, those that wait included."""
        since = moment(utc_now() - timedelta(days=1))
        with self.workshop.database.reading() as connection:
            made = select(func.count()).select_from(gallery).where(gallery.c.person_id == person.id, gallery.c.created >= since)
            waits = select(jobs.c.ask).where(jobs.c.person_id == person.id, jobs.c.state.in_(("queued", "running")))
            open_asks = [Ask.model_validate_json(document).count for document in connection.execute(waits).scalars()]
            return int(connection.execute(made).scalar_one()) + sum(open_asks)

    def wish(self, prompt: str, **given: Any) -> Ask:
        """The ask of a prompt with its parameters and style tags; `given` are the fields of a form, and a parameter in the prompt wins over them."""
        return ask_of(read_wish(prompt), self.easel, given)

    @contextmanager
    def waiting(self, person_id: str) -> Iterator[None]:
        """Bounds how many requests are kept waiting, each with a thread of the server's. Raises Busy."""
        with self.mutex:
            mine, everybody = self.waiters.get(person_id, 0), sum(self.waiters.values())
            if mine >= WAITERS_EACH or everybody >= WAITERS_ALL:
                raise Busy(f"{mine or everybody} requests wait for pictures already; say it again in a few seconds")
            self.waiters[person_id] = mine + 1
        try:
            yield
        finally:
            with self.mutex:
                self.waiters[person_id] -= 1
                if not self.waiters[person_id]:
                    del self.waiters[person_id]

    def drawn(self, job: Job, timeout_s: float = PATIENCE_S) -> list[Picture]:
        """Waits for a job's pictures. Raises InvalidInput with the reason where it failed, Interrupted where it was cancelled."""
        with self.waiting(job.person_id):
            job = self.jobs.wait(job.id, timeout_s)
        if job.state == "failed":
            raise InvalidInput(job.error or "the picture could not be drawn")
        if job.state == "cancelled":
            raise Interrupted("stopped")
        if job.state != "done":
            raise Pending(f"job {job.id} is not done after {timeout_s:g} seconds; it goes on")
        return [hung.picture for hung in self.gallery.of_ids(self.people.of_id(job.person_id), job.pictures)]

    def keep(self, person: Person, picture: Picture, key: str | None = None) -> tuple[bytes, dict[str, Any], bool]:
        """Pays for a picture and hands it over. Without `key`, a person who keeps it already pays nothing more, and one who gave it back pays anew."""
        if key is None:
            with self.workshop.database.reading() as connection:
                held, before = kept_key(connection, person, picture.id), times_kept(connection, person, picture.id)
            first = f"download:{person.name}:{picture.id}"
            return keep(self.workshop.desk(), picture, person.name, held or (f"{first}:{before + 1}" if before else first))
        return keep(self.workshop.desk(), picture, person.name, f"download:{person.name}:{key}")

    def check_program(self, person: Person, ask: Ask) -> None:
        """Raises InvalidInput for an ask whose credit comes too late for a program that keeps its pictures at once."""
        if len(ask.styles) > PLAYERS_MAX and not person.is_operator:
            raise InvalidInput(f"{len(ask.styles)} styles are credited later, and a program keeps its pictures at once; give at most {PLAYERS_MAX}")

    def files_for(self, person: Person, pictures: Sequence[Picture]) -> list[bytes]:
        """The sealed files for a program: the operator's own for nothing, anybody else's kept, and so paid, as they are handed over: all, or none.

        Raises InsufficientFunds with nothing paid.
        """
        if not person.is_operator:
            with self.workshop.database.reading() as connection:
                new = [one for one in pictures if kept_key(connection, person, one.id) is None]
                keys = [f"download:{person.name}:{one.id}" + (f":{times + 1}" if (times := times_kept(connection, person, one.id)) else "") for one in new]
            keep_all(self.workshop.desk(), new, person.name, keys)
        return [self.workshop.blobs.get(one.file_sha256) for one in pictures]

    def balance_micro(self, person: Person) -> int:
        return balance_micro(self.workshop.database, creator_account(person.name), self.workshop.settings.currency)


def ask_of(wish: Wish, easel: Easel, given: dict[str, Any]) -> Ask:
    """A wish and a form as an ask. Raises InvalidInput."""
    fields = {name: value for name, value in given.items() if value not in (None, "")}
    styles = {use.name: use for use in (*fields.pop("styles", ()), *wish.styles)}
    scaled = [use.model_copy(update={"weight": min(2.0, use.weight * wish.stylize / 100)}) for use in styles.values()]
    if wish.seed is not None:
        fields["seed"] = wish.seed
    if wish.negative:
        fields["negative_prompt"] = ", ".join(filter(None, [fields.get("negative_prompt", ""), wish.negative]))
    chaos = wish.chaos if fields.get("count", 1) > 1 else None
    if chaos is not None:
        fields["variation_strength"] = max(0.01, chaos / 100)
    if "seed" not in fields:
        fields |= unseeded(fields)
    if chaos is not None:
        fields["variation_seed"] = (int(fields["seed"]) + 1) % 2**32
    if wish.ratio is not None and "width" not in fields:
        model = easel.model(fields.get("model", ""))
        fields |= sized(model, wish.ratio)
    return Ask.model_validate({"prompt": wish.words, "styles": tuple(scaled), **fields})


def sized(model: Any, ratio: tuple[int, int]) -> dict[str, int]:
    """The size of that ratio, about as many pixels as the model was trained at, in its multiples. Raises InvalidInput for one that it cannot draw."""
    times = model.enlarges
    step, area = model.multiple, model.native**2
    width = max(model.smallest, round((area * ratio[0] / ratio[1]) ** 0.5 / step) * step)
    height = max(model.smallest, round((area * ratio[1] / ratio[0]) ** 0.5 / step) * step)
    if max(width, height) > model.largest:
        raise InvalidInput(f"--ar {ratio[0]}:{ratio[1]} is longer than model {model.name!r} draws; give one up to {model.largest // model.smallest}:1")
    return {"width": width * times, "height": height * times, "enlarge": times}


def open_floor(workshop: Workshop, *, accounts: bool = False, durable: bool = False) -> Floor:
    """The studio's parts, joined; `open` its dispatch to begin. Without `durable`, jobs are drawn by the twin, a thread."""
    jobs_ = Jobs(workshop.database)
    box: list[Easel] = []
    dispatch: Dispatch = Durable(workshop.database, jobs_, workshop.home, lambda: box[0].loaded if box else "") if durable else Threads(jobs_)
    box.append(Easel(workshop, jobs_, dispatch.worker))
    return Floor(workshop, People(workshop.database), jobs_, Gallery(workshop.database), box[0], dispatch, accounts)
