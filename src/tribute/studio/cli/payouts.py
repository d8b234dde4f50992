"""payout: request, list, send, confirm, return, cancel, file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tribute.studio.cli.money import check_key
from tribute.studio.cli.show import Json, print_json, table

app = typer.Typer(help="Paying artists what closed weeks made payable.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(help="A payout's id, from `payout list`.")]


def _show(found: list[Any], as_json: bool) -> None:
    from tribute.records.money import format_minor

    if as_json:
        print_json([vars(one) for one in found])
        return
    table(("id", "artist", "due", "state"), [(one.id, one.artist_id, format_minor(one.amount_minor, one.currency), one.state) for one in found])


@app.command()
def request(
    artist: Annotated[str, typer.Argument(help="The artist's id.")],
    key: Annotated[str, typer.Option(help="Idempotency key: said twice with one key, it asks once.")],
    amount: Annotated[str | None, typer.Option(help="How much; all that is payable by default.")] = None,
    as_json: Json = False,
) -> None:
    """Ask for what is payable."""
    from tribute.ledger.payouts import request_payout
    from tribute.records.money import parse_minor
    from tribute.studio.wiring import open_workshop

    check_key(key)
    workshop = open_workshop()
    currency = workshop.settings.currency
    _show([request_payout(workshop.database, artist, currency, key, parse_minor(amount, currency) if amount else None)], as_json)


@app.command("list")
def list_payouts(as_json: Json = False) -> None:
    """Every payout and where it stands."""
    from tribute.ledger.payouts import payouts_on
    from tribute.studio.wiring import open_workshop

    with open_workshop().database.reading() as connection:
        _show(payouts_on(connection), as_json)


def _move(payout: str, state: str, reason: str, as_json: bool) -> None:
    from tribute.ledger.payouts import move_payout
    from tribute.studio.wiring import open_workshop

    _show([move_payout(open_workshop().database, payout, state, reason[:300])], as_json)


@app.command()
def confirm(payout: Id, as_json: Json = False) -> None:
    """The bank says that it arrived."""
    _move(payout, "confirmed", "", as_json)


@app.command("return")
def give_back(payout: Id, reason: Annotated[str, typer.Option(help="What the bank said.")] = "returned by the bank", as_json: Json = False) -> None:
    """The bank sent it back: it is payable again."""
    _move(payout, "returned", reason, as_json)


@app.command()
def cancel(payout: Id, reason: Annotated[str, typer.Option(help="Kept with it.")] = "cancelled", as_json: Json = False) -> None:
    """Take back a request that was not sent: it is payable again."""
    _move(payout, "cancelled", reason, as_json)


@app.command()
def send(
    output: Annotated[Path, typer.Option("--output", "-o", help="The bank file to write (XML).")],
    iban: Annotated[str, typer.Option(help="The studio's own account.")],
    as_json: Json = False,
) -> None:
    """Write one ISO 20022 pain.001 file for all requested payouts, then mark them as sent. The file is whole before the first is marked."""
    from tribute.ledger.payouts import move_payout, pain_001, payees_of, payouts_on
    from tribute.records import InvalidInput, Payee, utc_now
    from tribute.store.blobs import write_file
    from tribute.studio.wiring import open_workshop

    workshop = open_workshop()
    now = utc_now()
    own = Payee(artist_id="studio", name=workshop.settings.producer, iban=iban.replace(" ", ""), since=now)
    with workshop.database.reading() as connection:
        waiting = [one for one in payouts_on(connection) if one.state == "requested"]
        accounts = payees_of(connection, (one.artist_id for one in waiting))
    if not waiting:
        raise InvalidInput("no payout waits to be sent; say tribute payout request ARTIST --key KEY first")
    data = pain_001(waiting, accounts, own.name, own.iban, now.date())
    output.parent.mkdir(parents=True, exist_ok=True)
    write_file(output, data)
    _show([move_payout(workshop.database, one.id, "sent") for one in waiting], as_json)
    if not as_json:
        typer.echo(str(output))
