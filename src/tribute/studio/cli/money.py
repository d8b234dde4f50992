"""topup, download, refund, balance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tribute.studio.cli.show import Json, print_json, table
from tribute.studio.words import say

KEY_MAX = 100


def check_key(key: str | None) -> None:
    """Raises InvalidInput for an idempotency key that cannot be kept whole."""
    from tribute.records import InvalidInput

    if key is not None and not 1 <= len(key) <= KEY_MAX:
        raise InvalidInput(f"the key has {len(key)} characters; give 1 to {KEY_MAX}")


def topup(
    name: Annotated[str, typer.Argument(help="The creator's name.")],
    amount: Annotated[str, typer.Argument(help="How much, such as 20.00, in the studio's currency.")],
    key: Annotated[str | None, typer.Option(help="Idempotency key: said twice with one key, it counts once.")] = None,
    as_json: Json = False,
) -> None:
    """Put prepaid money into a creator's account."""
    import secrets

    from tribute.ledger.book import balance_micro, creator_account
    from tribute.ledger.topup import top_up
    from tribute.records.money import format_micro, parse_minor
    from tribute.studio.wiring import open_workshop

    account = creator_account(name)
    check_key(key)
    workshop = open_workshop()
    currency = workshop.settings.currency
    moved = top_up(workshop.database, name, parse_minor(amount, currency), currency, f"top-up:{name}:{key or secrets.token_hex(8)}")
    held = balance_micro(workshop.database, account, currency)
    if as_json:
        print_json({"account": account, "moved": moved, "balance_micro": held, "currency": currency})
    else:
        typer.echo(f"{say('balance')} {name}: {format_micro(held, currency)}")


def download(
    picture: Annotated[str, typer.Argument(help="A picture's id, or a file that Tribute made.")],
    name: Annotated[str, typer.Option("--as", help="The creator who pays.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the picture and its receipt.")] = Path(),
    key: Annotated[str | None, typer.Option(help="Idempotency key; by default one creator pays for one picture once.")] = None,
    as_json: Json = False,
) -> None:
    """Keep a picture: pay its artists, get the file and a receipt."""
    from tribute.commission import keep
    from tribute.ledger.book import creator_account
    from tribute.ledger.verifier import layout
    from tribute.records import InvalidInput
    from tribute.records.money import format_micro
    from tribute.store.blobs import write_file
    from tribute.studio.wiring import open_workshop

    creator_account(name)
    check_key(key)
    if output.exists() and not output.is_dir():
        raise InvalidInput(f"{output} is not a folder")
    workshop = open_workshop()
    found, _ = workshop.picture(picture)
    output.mkdir(parents=True, exist_ok=True)
    sealed, receipt, moved = keep(workshop.desk(), found, name, key and f"download:{name}:{key}")
    path, receipt_path = output / f"tribute-{found.id}.png", output / f"tribute-{found.id}.receipt.json"
    write_file(path, sealed)
    write_file(receipt_path, layout(receipt))
    lines = receipt["sections"]["transaction"]["postings"]
    if as_json:
        print_json({"picture": found.id, "path": str(path), "receipt": str(receipt_path), "moved": moved, "postings": lines})
        return
    typer.echo(f"{say('picture')}: {path}\n{say('receipt')}: {receipt_path}")
    rows = [(line["account"], format_micro(line["amount_micro"], line["currency"])) for line in lines]
    table(("account", "paid" if moved else "already paid"), rows)


def refund(
    picture: Annotated[str, typer.Argument(help="A picture's id, or a file that Tribute made.")],
    name: Annotated[str, typer.Option("--as", help="The creator who kept it.")],
    key: Annotated[str | None, typer.Option(help="The idempotency key that it was kept with, if one was given.")] = None,
    reason: Annotated[str, typer.Option(help="Kept with the refund.")] = "asked for by the creator",
    as_json: Json = False,
) -> None:
    """Give a kept picture's price back, within TRIBUTE_REFUND_DAYS of it. Said twice, it counts once."""
    from tribute.ledger.book import creator_account
    from tribute.ledger.refund import refund as give_back
    from tribute.records.money import format_micro
    from tribute.studio.wiring import open_workshop

    creator_account(name)
    check_key(key)
    workshop = open_workshop()
    found, _ = workshop.picture(picture)
    download_key = f"download:{name}:{key or found.id}"
    made = give_back(workshop.database, download_key, reason[:300], workshop.settings.refund_days)
    if as_json:
        print_json(made.document())
        return
    table(("account", "given back"), [(line.account, format_micro(line.amount_micro, line.currency)) for line in made.postings])


def balance(as_json: Json = False) -> None:
    """Every account's balance, and the sum of all postings, which must be zero."""
    from tribute.ledger.book import all_balances, trial_balance
    from tribute.records.money import format_micro
    from tribute.studio.wiring import open_workshop

    workshop = open_workshop()
    held, totals = all_balances(workshop.database), trial_balance(workshop.database)
    if as_json:
        accounts = [{"account": account, "currency": currency, "balance_micro": amount} for (account, currency), amount in held.items()]
        print_json({"accounts": accounts, "trial_balance_micro": totals})
        return
    rows = [(account, format_micro(amount, currency)) for (account, currency), amount in held.items()]
    table(("account", "balance"), [*rows, *((say("total"), format_micro(total, currency)) for currency, total in totals.items())])
