"""kill -9 while pictures are made: every picture on record is whole, sealed and readable; none is half there."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import make_bench
from tribute.provenance.verify import verify
from tribute.records import Picture
from tribute.store.blobs import DiskBlobs
from tribute.store.database import Database, documents
from tribute.store.schema import pictures

WORKER = """
import sys
from tests.conftest import make_picture
from tribute.commission import Ask, Desk, commission
from tribute.diffusion.loading import load_model
from tribute.provenance.certificate import open_studio
from tribute.records import Price, StyleUse
from tribute.store.blobs import DiskBlobs
from tribute.store.database import Database
from pathlib import Path
home, folder = Path(sys.argv[1]), sys.argv[2]
price = Price(amount_minor=50, currency="CNY", platform_bp=3000)
desk = Desk(Database(f"sqlite:///{home / 'tribute.db'}"), DiskBlobs(home / "blobs"), open_studio(home / "studio"), price)
model = load_model(folder, engine="torch")
print("ready", flush=True)
seed = 0
while True:
    for picture in commission(desk, model, Ask(prompt="a fox", styles=(StyleUse(name="ada"),), seed=seed, steps=1, width=64, height=64)):
        print(picture.id, flush=True)
    seed += 1
"""


@pytest.mark.slow
def test_kills_leave_whole_pictures_or_none(tmp_path, tiny_folder, studio):
    make_bench(tiny_folder[0], studio, Database(f"sqlite:///{tmp_path / 'tribute.db'}"), DiskBlobs(tmp_path / "blobs"))
    rng, told = random.Random(3), set()
    for _ in range(3):
        command = [sys.executable, "-c", WORKER, str(tmp_path), str(tiny_folder[0])]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "."})
        assert worker.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.3, 2.0))
        worker.send_signal(signal.SIGKILL)
        told |= {line for line in worker.stdout.read().split("\n")[:-1] if len(line) == 8}
        worker.wait()
    blobs, database = DiskBlobs(tmp_path / "blobs"), Database(f"sqlite:///{tmp_path / 'tribute.db'}")
    with database.reading() as connection:
        kept = documents(connection, pictures, Picture)
    assert told <= {picture.id for picture in kept}
    root = (tmp_path / "studio" / "studio-root.pem").read_bytes()
    for picture in kept:
        found = verify(blobs.get(picture.file_sha256), picture.id, root)
        assert (found.verdict, found.picture_id) == ("intact", picture.id)
    assert len(kept) - len(told) <= 3
