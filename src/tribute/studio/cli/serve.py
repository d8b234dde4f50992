"""studio: the pages and HTTP interfaces. worker: a process that draws. people: who may sign in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tribute.studio.cli.show import Json, print_json, table

LOOPBACK = ("127.0.0.1", "localhost", "::1")
people_app = typer.Typer(help="Who may sign in to the studio.", no_args_is_help=True)


def studio(
    port: Annotated[int, typer.Option(help="1 to 65535.")] = 7860,
    host: Annotated[str, typer.Option(help="Address to listen on. Any but loopback demands accounts.")] = "127.0.0.1",
    name: Annotated[list[str] | None, typer.Option("--name", help="A host name that the studio answers to; repeat it. Needed off loopback.")] = None,
    accounts: Annotated[bool, typer.Option("--accounts/--no-accounts", help="People sign in; without it, whoever reaches the port is the owner.")] = False,
    draw: Annotated[bool, typer.Option("--draw/--no-draw", help="Draw in this process too; without it, workers do (PostgreSQL).")] = True,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = False,
) -> None:
    """Serve the studio. On this machine it is open to its owner at once; elsewhere people sign in."""
    import threading
    import webbrowser

    import uvicorn

    from tribute.records import InvalidInput
    from tribute.studio.floor import open_floor
    from tribute.studio.web import LOOPBACK as NAMES
    from tribute.studio.web import build_app
    from tribute.studio.wiring import open_workshop

    if not 1 <= port <= 65535:
        raise InvalidInput(f"port {port} is out of range; give 1 to 65535")
    accounts = accounts or host not in LOOPBACK
    workshop = open_workshop()
    floor = open_floor(workshop, accounts=accounts, durable=True)
    if accounts and not floor.people.have_operator():
        raise InvalidInput("people would sign in, and nobody can run the studio yet; say `tribute people add NAME --role operator` first")
    if host not in LOOPBACK and not name:
        raise InvalidInput(f"which names is the studio reached by at {host}? give each with --name, such as --name studio.example.org")
    if not draw and workshop.database.url.get_backend_name() != "postgresql":
        raise InvalidInput("without PostgreSQL the studio itself draws; leave --no-draw out, or set TRIBUTE_DATABASE")
    floor.dispatch.open(floor.easel.work if draw else None, floor.easel.rest)
    page = f"http://{host}:{port}/"
    typer.echo(page)
    if open_browser:
        threading.Timer(1.5, webbrowser.open, [page]).start()
    if draw:
        threading.Thread(target=floor.easel.model, daemon=True, name="loading").start()  # so that the first picture need not wait for it
    app = build_app(floor, (*NAMES, *(name or ())))
    uvicorn.run(app, host=host, port=port, log_level="warning", server_header=False, timeout_graceful_shutdown=3)


def worker() -> None:
    """Draw the studio's jobs in this process; any number of them may, on one PostgreSQL (TRIBUTE_DATABASE) and one blob folder."""
    import signal
    import threading

    from tribute.studio.floor import open_floor
    from tribute.studio.wiring import open_workshop

    floor = open_floor(open_workshop(), durable=True)
    floor.easel.model()
    floor.dispatch.open(floor.easel.work, floor.easel.rest)
    typer.echo(floor.dispatch.worker)
    over = threading.Event()
    for kind in (signal.SIGTERM, signal.SIGINT):
        signal.signal(kind, lambda *_: over.set())
    over.wait()
    floor.dispatch.close()


@people_app.command()
def add(
    name: Annotated[str, typer.Argument(help="Letters, digits, '.', '_', '@' or '-'; also the name of their account in the ledger.")],
    role: Annotated[str, typer.Option(help="creator, artist or operator.")] = "creator",
    artist: Annotated[str | None, typer.Option(help="Which artist's statements an artist sees.")] = None,
    password_file: Annotated[Path | None, typer.Option(help="File whose first line is the password; asked for otherwise.")] = None,
    as_json: Json = False,
) -> None:
    """Let somebody sign in."""
    from tribute.studio.people import People
    from tribute.studio.wiring import open_workshop

    if password_file is not None:
        password = password_file.read_text(encoding="utf-8").partition("\n")[0]
    else:
        password = typer.prompt("password", hide_input=True, confirmation_prompt=True)
    person = People(open_workshop().database).add(name, password, role, artist)  # type: ignore[arg-type]
    if as_json:
        print_json(person.document())
    else:
        table(("Name", "role"), [(person.name, person.role)])


@people_app.command("list")
def list_people(as_json: Json = False) -> None:
    """Everybody but guests."""
    from tribute.studio.people import People
    from tribute.studio.wiring import open_workshop

    found = People(open_workshop().database).all()
    if as_json:
        print_json(found)
    else:
        table(("Name", "role", "artist", "since"), [(one["name"], one["role"], one["artist_id"] or "–", str(one["created"])[:10]) for one in found])
