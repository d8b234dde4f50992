"""Jobs under kill -9: what was accepted is finished, once, whatever dies.

python bench/jobs.py kill --model FOLDER [--kills 20] [--database URL]        a studio killed and started again, again and again
python bench/jobs.py fleet --model FOLDER --database postgresql://... [--workers 3] [--kills 6]    workers killed one after the other; the others take over

The model is any diffusers folder; without --model a tiny random one is made on the spot. Jobs are asked for over HTTP with idempotency keys and said
again when the connection breaks, as a client would. Prints one JSON line; exit code 1 where a job was lost, doubled or called done without its pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from tribute.store.blobs import DiskBlobs
from tribute.store.database import Database
from tribute.store.schema import gallery, jobs, pictures
from tribute.studio.jobs import LATE_S

SHOWN_S = 120.0  # until everything has to be finished, after the last kill


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Rig:
    def __init__(self, home: Path, model: Path, database: str | None) -> None:
        self.home, self.port = home, free_port()
        self.env = {**os.environ, "TRIBUTE_HOME": str(home), "TRIBUTE_MODEL": str(model), "TRIBUTE_ENGINE": "torch", "OMP_NUM_THREADS": "1"}
        if database:
            self.env["TRIBUTE_DATABASE"] = database
        self.url = database or f"sqlite:///{home / 'tribute.db'}"
        self.address = f"http://127.0.0.1:{self.port}"

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        code = "from tribute.studio.cli import main; main()"
        return subprocess.Popen([sys.executable, "-c", code, *arguments], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def studio(self, *more: str) -> subprocess.Popen[bytes]:
        return self.start("studio", "--port", str(self.port), *more)

    def wait_until_up(self, process: subprocess.Popen[bytes]) -> None:
        for _ in range(1200):
            if process.poll() is not None:
                raise RuntimeError(process.stdout.read().decode() if process.stdout else "the studio ended")
            try:
                httpx.get(f"{self.address}/api/v1/styles", timeout=2)
                return
            except httpx.HTTPError:
                time.sleep(0.1)
        raise RuntimeError("the studio did not start")

    def ask(self, number: int) -> str | None:
        """The job of that number, or None where nobody answered: said again later, it is the same one."""
        body = {"prompt": f"a fox {number}", "count": 2, "steps": 60, "guidance": 1.0, "width": 64, "height": 64}
        try:
            answer = httpx.post(f"{self.address}/api/v1/jobs", json=body, headers={"Idempotency-Key": f"k{number}"}, timeout=5)
        except httpx.HTTPError:
            return None
        return str(answer.json()["id"]) if answer.status_code == 202 else None

    def tally(self, asked: dict[int, str]) -> dict[str, Any]:
        """Everything on record held against what was accepted."""
        database, blobs = Database(self.url), DiskBlobs(self.home / "blobs")
        with database.reading() as connection:
            states = {row.id: row for row in connection.execute(select(jobs.c.id, jobs.c.state, jobs.c.attempts))}
            rows = connection.execute(
                select(gallery.c.job_id, gallery.c.number, pictures.c.file_sha256).join(pictures, pictures.c.id == gallery.c.picture_id)
            ).all()
            orphans = len(connection.execute(select(pictures.c.id).where(pictures.c.id.not_in(select(gallery.c.picture_id)))).all())
        database.close()
        made: dict[str, list[int]] = {}
        unreadable = 0
        for row in rows:
            made.setdefault(row.job_id, []).append(row.number)
            try:
                blobs.get(row.file_sha256)
            except Exception:
                unreadable += 1
        lost = [one for one in asked.values() if one not in states]
        done = [one for one in states if states[one].state == "done"]
        return {
            "accepted": len(asked), "lost": len(lost), "done": len(done), "not done": len(states) - len(done), "jobs in all": len(states),
            "done without its pictures": sum(sorted(made.get(one, [])) != [0, 1] for one in done) + unreadable,
            "doubled": sum(len(numbers) != len(set(numbers)) for numbers in made.values()) + max(0, len(states) - len(asked)) + orphans,
            "drawn again": sum(row.attempts - 1 for row in states.values() if row.attempts > 1),
        }  # fmt: skip

    def finished(self, asked: dict[int, str]) -> bool:
        try:
            found = httpx.get(f"{self.address}/api/v1/jobs?limit=100", timeout=5).json()["items"]
        except httpx.HTTPError:
            return False
        return all(job["state"] in ("done", "failed", "cancelled") for job in found) and len(asked) > 0


def refill(rig: Rig, asked: dict[int, str], number: int) -> int:
    """Asks for more jobs where few wait; returns the next number."""
    while len(asked) < 90:
        job = asked.get(number) or rig.ask(number)
        if job is None:
            break
        asked[number] = job
        number += 1
    return number


def kill(rig: Rig, kills: int, seed: int) -> dict[str, Any]:
    rng, asked, number = random.Random(seed), {}, 0
    for _ in range(kills):
        process = rig.studio()
        try:
            rig.wait_until_up(process)
            number = refill(rig, asked, number)
            time.sleep(rng.uniform(0.0, 6.0))  # while the model is loaded, and while pictures are drawn
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    process = rig.studio()
    rig.wait_until_up(process)
    until = time.monotonic() + SHOWN_S
    while time.monotonic() < until and not rig.finished(asked):
        time.sleep(0.5)
    process.terminate()
    process.wait()
    return {"kills": kills, **rig.tally(asked)}


def fleet(rig: Rig, workers: int, kills: int, seed: int) -> dict[str, Any]:
    rng, asked, number = random.Random(seed), {}, 0
    web = rig.studio("--no-draw")
    running = [rig.start("worker") for _ in range(workers)]
    took: list[float] = []
    try:
        rig.wait_until_up(web)
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        number = refill(rig, asked, number)
        for _ in range(kills):
            time.sleep(rng.uniform(0.5, 2.0))
            victim = running.pop(0)
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            began = time.monotonic()
            stuck = [
                job["id"]
                for job in httpx.get(f"{rig.address}/api/v1/jobs?limit=100").json()["items"]
                if job["state"] == "running" and f"-{victim.pid}-" in job["worker"]
            ]
            while stuck and time.monotonic() - began < 60:
                stuck = [one for one in stuck if _held_by(rig, one, victim.pid)]
                time.sleep(0.2)
            took.append(time.monotonic() - began)
            running.append(rig.start("worker"))
            number = refill(rig, asked, number)
        until = time.monotonic() + SHOWN_S
        while time.monotonic() < until and not rig.finished(asked):
            time.sleep(0.5)
    finally:
        for process in (web, *running):
            process.kill()
            process.wait()
    return {"workers": workers, "kills": kills, "taken over after at most, s": round(max(took), 1), "stated, s": LATE_S + 5, **rig.tally(asked)}


def _held_by(rig: Rig, job_id: str, pid: int) -> bool:
    job = httpx.get(f"{rig.address}/api/v1/jobs/{job_id}").json()
    return job["state"] == "running" and f"-{pid}-" in (job["worker"] or "")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("kill", "fleet"))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--database")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=5)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-jobs-"))
    if given.model is None:
        from tests.tiny import make_model

        given.model = make_model(folder / "tiny", "sd1")
    used = Rig(folder / "home", given.model, given.database)
    found = kill(used, given.kills, given.seed) if given.what == "kill" else fleet(used, given.workers, given.kills, given.seed)
    print(json.dumps(found))
    sys.exit(1 if found["lost"] or found["doubled"] or found["done without its pictures"] or found["not done"] else 0)
