"""A studio over the tiny model: its data folder, its floor with the twin dispatch, its address on loopback."""

import secrets
import shutil
import socket
import threading
import time

import pytest
import uvicorn
from argon2 import PasswordHasher
from fastapi.testclient import TestClient

from tests.conftest import make_bench
from tribute.ledger.topup import top_up
from tribute.store.blobs import DiskBlobs
from tribute.store.database import Database
from tribute.studio.floor import open_floor
from tribute.studio.web import build_app
from tribute.studio.wiring import open_workshop

PASSWORD = "correct horse battery"


@pytest.fixture(scope="session")
def furnished(tmp_path_factory, tiny_folder, studio):
    """The data folder that every test's own is copied from."""
    folder = tmp_path_factory.mktemp("furnished")
    database = Database(f"sqlite:///{folder / 'tribute.db'}")
    make_bench(tiny_folder[0], studio, database, DiskBlobs(folder / "blobs"))
    database.close()
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch, tiny_folder, furnished):
    """A data folder with ada's and bo's styles on the tiny model, and no shipped starter."""
    folder = tmp_path / "home"
    monkeypatch.setenv("TRIBUTE_HOME", str(folder))
    monkeypatch.setenv("TRIBUTE_MODEL", str(tiny_folder[0]))
    monkeypatch.setattr("tribute.studio.wiring.STARTER", tmp_path / "no-starter")
    monkeypatch.setattr("tribute.studio.wiring.open_workshop.__defaults__", (None, None))
    shutil.copytree(furnished, folder)
    return folder


@pytest.fixture
def workshop(home):
    return open_workshop()


@pytest.fixture
def floor(workshop):
    """Open to its owner; jobs are drawn by the twin."""
    made = open_floor(workshop)
    made.dispatch.open(made.easel.work, made.easel.rest)
    yield made
    made.dispatch.close()


@pytest.fixture
def house(workshop, monkeypatch):
    """The same with accounts: op, mei, lu, and ada the artist; mei has money. Their passwords are hashed in a thousandth of the time that it takes people."""
    monkeypatch.setattr("tribute.studio.people._hasher", lambda: PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    made = open_floor(workshop, accounts=True)
    made.dispatch.open(made.easel.work, made.easel.rest)
    for name, role, artist in (("op", "operator", None), ("mei", "creator", None), ("lu", "creator", None), ("ada", "artist", "ada-artist")):
        made.people.add(name, PASSWORD, role, artist)
    top_up(workshop.database, "mei", 10_00, "CNY", secrets.token_hex(4))
    yield made
    made.dispatch.close()


def browser_of(app, session=None):
    client = TestClient(app, base_url="http://127.0.0.1:7860", follow_redirects=False, raise_server_exceptions=False)
    if session:
        client.cookies.set("tribute_session", session)
    return client


@pytest.fixture
def client(floor):
    return TestClient(build_app(floor), base_url="http://127.0.0.1:7860")


@pytest.fixture
def visits(house):
    """A client for each kind of visitor: none, guest, mei, lu, ada, op."""
    app = build_app(house)
    people = {name: house.people.named(name) for name in ("mei", "lu", "ada", "op")} | {"guest": house.people.guest()}
    return {"none": browser_of(app)} | {name: browser_of(app, house.people.open_session(person)) for name, person in people.items()}


@pytest.fixture
def address(floor):
    yield from served(floor)


def served(floor):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(build_app(floor), host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def drawn(floor, person, prompt="a fox", **fields):
    """The pictures of a job that is waited for."""
    return floor.drawn(floor.submit(person, floor.wish(prompt, **fields)), 120)
