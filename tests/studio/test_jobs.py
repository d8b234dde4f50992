"""Jobs on both databases: turns, bounds, keys, cancelling, and a worker that is taken for dead."""

import threading

import pytest

from tests.conftest import make_picture
from tribute.commission import Ask
from tribute.records import Busy, Conflict, Interrupted
from tribute.store.database import moment, put
from tribute.store.schema import gallery, pictures
from tribute.studio.jobs import ATTEMPTS_MAX, Jobs
from tribute.studio.people import People

FOX = Ask(prompt="a fox", seed=1)


@pytest.fixture
def jobs(database):
    return Jobs(database)


@pytest.fixture
def mei(database):
    return People(database).add("mei", None).id


@pytest.fixture
def lu(database):
    return People(database).add("lu", None).id


def finish(jobs, job_id, worker="w", number=0, ident="0000000a"):
    """Draws a job's one picture as a worker does."""
    job = jobs.start(job_id, worker)
    store(jobs, job, worker, number, ident)
    jobs.end(job_id, worker, "done")


def store(jobs, job, worker, number, ident):
    picture = make_picture({}, picture_id=ident)
    with jobs.database.writing() as connection:
        columns = {"id": ident, "file_sha256": picture.file_sha256, "pixel_sha256": picture.pixel_sha256, "created": moment(picture.created)}
        put(connection, pictures, picture, **columns)
        jobs.keep_picture(connection, job, worker, number, picture)


def test_turns_are_fair_between_people(jobs, mei, lu):
    many = [jobs.submit(mei, FOX).id for _ in range(4)]
    one, two = jobs.submit(lu, FOX).id, jobs.submit(lu, FOX).id
    order = []
    for at in range(6):
        order.append(jobs.next_turn())
        finish(jobs, order[-1], ident=f"0000000{at}")
    assert order == [many[0], one, many[1], two, many[2], many[3]]
    late = jobs.submit(lu, FOX)
    assert jobs.turn_of(late.id) > 4  # whoever comes late does not go before what waits already, for ever


def test_waiting_is_bounded_each_and_in_all(jobs, mei, lu, monkeypatch):
    for _ in range(3):
        jobs.submit(mei, FOX, most=3)
    with pytest.raises(Busy, match="3 of your jobs"):
        jobs.submit(mei, FOX, most=3)
    monkeypatch.setattr("tribute.studio.jobs.WAITING_ALL", 4)
    jobs.submit(lu, FOX)
    with pytest.raises(Busy, match="4 jobs wait"):
        jobs.submit(lu, FOX)


def test_a_key_is_one_job_even_for_many_at_once(jobs, mei):
    answers, barrier = [], threading.Barrier(8)

    def ask():
        barrier.wait()
        answers.append(jobs.submit(mei, FOX, key="k").id)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(answers)) == 1
    for other in ({"prompt": "a cat"}, {"seed": 2}):
        with pytest.raises(Conflict, match="another job"):
            jobs.submit(mei, FOX.model_copy(update=other), key="k")
    assert jobs.submit(mei, FOX, key="drawn", asked="x").id == jobs.submit(mei, FOX.model_copy(update={"seed": 3}), key="drawn", asked="x").id


def test_cancelling_ends_the_one_that_was_asked_for(jobs, mei):
    drawn, waits, other = (jobs.submit(mei, FOX).id for _ in range(3))
    jobs.start(drawn, "w")
    assert jobs.cancel(waits).state == "cancelled"
    assert jobs.start(waits, "w") is None
    assert jobs.cancel(drawn).state == "running"
    with pytest.raises(Interrupted):
        jobs.step(drawn, "w", 1, 8, "drawing")
    with pytest.raises(Interrupted):
        store(jobs, jobs.get(drawn), "w", 0, "0000000b")
    jobs.end(drawn, "w", "cancelled")
    finish(jobs, other)
    assert [jobs.get(one).state for one in (drawn, waits, other)] == ["cancelled", "cancelled", "done"]
    assert jobs.cancel(other).state == "done"


def test_a_worker_taken_for_dead_adds_nothing_and_the_other_finishes(jobs, mei, database):
    job_id = jobs.submit(mei, FOX.model_copy(update={"count": 2})).id
    slow = jobs.start(job_id, "slow")
    store(jobs, slow, "slow", 0, "0000000c")
    assert jobs.abandoned({"other"}) == [job_id]
    other = jobs.start(job_id, "other")
    with pytest.raises(Interrupted):
        jobs.step(job_id, "slow", 1, 8, "drawing")
    with pytest.raises(Interrupted):
        store(jobs, slow, "slow", 1, "0000000d")
    jobs.end(job_id, "slow", "failed", "late")
    store(jobs, other, "other", 1, "0000000e")
    jobs.end(job_id, "other", "done")
    assert jobs.get(job_id).pictures == ("0000000c", "0000000e")
    assert jobs.get(job_id).state == "done"
    with database.reading() as connection:
        assert len(connection.execute(gallery.select()).all()) == 2


def test_a_job_whose_workflow_failed_is_given_back_once_under_a_new_number(jobs, mei):
    job = jobs.submit(mei, FOX)
    for _ in range(3):
        jobs.give_back(job, "w")  # whoever saw it so
    assert (jobs.get(job.id).state, jobs.get(job.id).attempts) == ("queued", 1)
    running = jobs.start(job.id, "w")
    jobs.give_back(running, "another")
    assert jobs.get(job.id).state == "running"
    jobs.give_back(running, "w")
    assert (jobs.get(job.id).state, jobs.get(job.id).attempts) == ("queued", 3)


def test_done_without_its_pictures_is_our_own_bug(jobs, mei):
    job_id = jobs.submit(mei, FOX).id
    jobs.start(job_id, "w")
    with pytest.raises(AssertionError):
        jobs.end(job_id, "w", "done")


def test_a_job_that_kills_its_workers_is_given_up(jobs, mei):
    job_id = jobs.submit(mei, FOX).id
    for _ in range(ATTEMPTS_MAX):
        assert jobs.start(job_id, "w") is not None
        jobs.abandoned(set())
    assert jobs.start(job_id, "w") is None
    assert (jobs.get(job_id).state, "died 20 times" in jobs.get(job_id).error) == ("failed", True)


def test_previews_last_as_long_as_the_job(jobs, mei):
    job_id = jobs.submit(mei, FOX.model_copy(update={"count": 2})).id
    job = jobs.start(job_id, "w")
    jobs.step(job_id, "w", 2, 8, "drawing", (0, [b"a", b"b"]))
    jobs.step(job_id, "w", 4, 8, "drawing", (1, [b"c"]))
    assert (jobs.preview(job_id, 0), jobs.preview(job_id, 1), jobs.previewed(job_id)) == (b"a", b"c", {0: 2, 1: 4})
    for at in range(2):
        store(jobs, job, "w", at, f"0000001{at}")
    jobs.end(job_id, "w", "done")
    assert jobs.previewed(job_id) == {}
