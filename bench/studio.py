"""The studio under load, on loopback: pages and API at 1, 8 and 32 clients, pictures a minute, and memory before and after 500 pictures.

python bench/studio.py [--seconds 10] [--pictures 500] [--clients 1 8 32]     wants an otherwise idle machine

Starts `tribute studio` on a fresh data folder (SQLite, the starter model, one worker in the server's process). The first table asks for pages while
nothing is drawn, then while one client has pictures drawn without a pause. Every client has one connection and asks again as soon as it is answered.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
from tqdm import tqdm

from tribute.commission import TRIES

PAGES = {"first page": "/", "explore": "/explore", "API: pictures": "/api/v1/pictures?limit=20", "API: styles": "/api/v1/styles"}


def resident_mb(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


class Studio:
    def __enter__(self) -> Studio:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        env = {**os.environ, "TRIBUTE_HOME": tempfile.mkdtemp(prefix="bench-studio-")}
        code = "from tribute.studio.cli import main; main()"
        self.process = subprocess.Popen([sys.executable, "-c", code, "studio", "--port", str(port)], env=env, stdout=subprocess.DEVNULL)
        for _ in range(600):
            try:
                if httpx.get(f"{self.address}/healthz", timeout=2).json()["model"]:
                    return self
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        raise RuntimeError("the studio did not start")

    def __exit__(self, *_: Any) -> None:
        self.process.terminate()
        self.process.wait()

    def draw(self, client: httpx.Client, number: int, tries: int = TRIES, count: int = 4) -> float:
        """Seconds from asking to all pictures stored."""
        began = time.perf_counter()
        job = client.post(f"{self.address}/api/v1/jobs", json={"prompt": f"a blue heart {number % 50}", "count": count, "tries": tries}, timeout=30)
        job.raise_for_status()
        while True:
            found = client.get(f"{self.address}/api/v1/jobs/{job.json()['id']}", params={"wait_s": 20}, timeout=40).json()
            if found["state"] == "done":
                return time.perf_counter() - began
            assert found["state"] in ("queued", "running"), found


def asked(studio: Studio, path: str, clients: int, seconds: float) -> list[float]:
    """Milliseconds of every answer."""
    answers: list[float] = []
    over = time.monotonic() + seconds

    def run() -> None:
        with httpx.Client(timeout=60) as client:
            while time.monotonic() < over:
                began = time.perf_counter()
                client.get(studio.address + path).raise_for_status()
                answers.append(1000 * (time.perf_counter() - began))

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def table(studio: Studio, clients: list[int], seconds: float, title: str) -> None:
    print(f"\n{title}\n\n| asked for | clients | answers a second | p50, ms | p95, ms |\n|---|---|---|---|---|", flush=True)
    for name, path in PAGES.items():
        for count in clients:
            found = sorted(asked(studio, path, count, seconds))
            p95 = found[min(len(found) - 1, int(0.95 * len(found)))]
            print(f"| {name} | {count} | {len(found) / seconds:.0f} | {statistics.median(found):.0f} | {p95:.0f} |", flush=True)


def main(seconds: float, pictures: int, clients: list[int]) -> None:
    with Studio() as studio, httpx.Client() as client:
        studio.draw(client, 0)
        for tries in (TRIES, 1):
            before, began, took = resident_mb(studio.process.pid), time.perf_counter(), []
            for number in tqdm(range(pictures // 4), desc="grids of four"):
                took.append(studio.draw(client, number, tries))
            minutes = (time.perf_counter() - began) / 60
            after = resident_mb(studio.process.pid)
            print(
                f"{pictures} pictures, each the best of {tries}, one client, grids of four: {pictures / minutes:.0f} pictures a minute; "
                f"a grid {statistics.median(took):.2f} s (p50), {sorted(took)[int(0.95 * len(took))]:.2f} s (p95); "
                f"memory {before:.0f} MB before, {after:.0f} MB after"
            )
        table(studio, clients, seconds, "Nothing is drawn")
        over = threading.Event()

        def keep_drawing() -> None:
            with httpx.Client() as own:
                while not over.is_set():
                    studio.draw(own, 1)

        thread = threading.Thread(target=keep_drawing)
        thread.start()
        table(studio, clients, seconds, "While pictures are drawn without a pause")
        over.set()
        thread.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    given = parser.parse_args()
    main(given.seconds, given.pictures, given.clients)
