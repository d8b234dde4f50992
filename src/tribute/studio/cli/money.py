"""topup, download, balance, settle, statement, receipt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tribute.studio.cli.show import Json, percent, print_json, table
from tribute.studio.words import say

receipt_app = typer.Typer(help="Receipts for kept pictures.", no_args_is_help=True)


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

    from tribute.ledger.book import balance_micro, creator_account, top_up
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
    write_file(receipt_path, (json.dumps(receipt, ensure_ascii=False, indent=1) + "\n").encode())
    lines = receipt["body"]["transaction"]["postings"]
    if as_json:
        print_json({"picture": found.id, "path": str(path), "receipt": str(receipt_path), "moved": moved, "postings": lines})
        return
    typer.echo(f"{say('picture')}: {path}\n{say('receipt')}: {receipt_path}")
    rows = [(line["account"], format_micro(line["amount_micro"], line["currency"])) for line in lines]
    table(("account", "paid" if moved else "already paid"), rows)


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


def _print_statements(workshop: Any, found: list[Any], as_json: bool) -> None:
    from tribute.records import Artist
    from tribute.records.money import format_micro, format_minor
    from tribute.store.database import get
    from tribute.store.schema import artists

    if as_json:
        print_json([statement.document() for statement in found])
        return
    if not found:
        typer.echo(say("nothing is owed"))
    for one in found:
        with workshop.database.reading() as connection:
            name = get(connection, artists, Artist, one.artist_id, "artist").name
        rows = [
            (line.picture_id, line.downloads, percent(line.mean_share_ppm), format_micro(line.gross_micro, one.currency),
             format_micro(line.platform_micro, one.currency), format_micro(line.due_micro, one.currency))
            for line in one.lines
        ]  # fmt: skip
        table(("picture", "downloads", "share", "earned", "platform part", "due"), rows, f"{say('statement')} {one.week}   {say('artist')}: {name}")
        typer.echo(
            f"{say('brought forward')} {format_micro(one.brought_forward_micro, one.currency)}   "
            f"{say('due')} {format_minor(one.due_minor, one.currency)}   {say('carried forward')} {format_micro(one.carried_forward_micro, one.currency)}"
        )


def settle(
    week: Annotated[str | None, typer.Option(help="ISO week, such as 2026-W47; the last whole week by default.")] = None,
    as_json: Json = False,
) -> None:
    """Close a week: what artists earned becomes payable, each gets a statement."""
    from datetime import timedelta

    from tribute.ledger.settlement import settle as close
    from tribute.ledger.settlement import week_of
    from tribute.records import utc_now
    from tribute.studio.wiring import open_workshop

    workshop = open_workshop()
    _print_statements(workshop, close(workshop.database, week or week_of(utc_now() - timedelta(days=7))), as_json)


def statement(
    week: Annotated[str, typer.Argument(help="A closed ISO week, such as 2026-W47.")],
    artist: Annotated[str | None, typer.Option(help="Only this artist's.")] = None,
    as_json: Json = False,
) -> None:
    """Read the statements of a closed week again."""
    from tribute.ledger.settlement import read_statements, week_end
    from tribute.studio.wiring import open_workshop

    week_end(week)
    workshop = open_workshop()
    with workshop.database.reading() as connection:
        found = [one for one in read_statements(connection, week) if artist in (None, one.artist_id)]
    _print_statements(workshop, found, as_json)


@receipt_app.command("verify")
def receipt_verify(
    file: Annotated[Path, typer.Argument(help="A receipt (JSON).")],
    picture: Annotated[Path | None, typer.Option(help="The picture that it is for, to check that too.")] = None,
    root: Annotated[Path | None, typer.Option(help="The root certificate (PEM) of the studio that gave it; this studio's by default.")] = None,
    as_json: Json = False,
) -> None:
    """Check a receipt with no database: its signature, its arithmetic, and its picture. Exit code 0 where all is well, 1 where not."""
    from tribute.ledger.receipt import check_receipt
    from tribute.provenance.certificate import read_root, verify_signature
    from tribute.records import InvalidInput, canonical
    from tribute.studio.wiring import open_workshop

    try:
        if file.stat().st_size > 10_000_000:
            raise InvalidInput(f"{file} is larger than a receipt can be")
        receipt = json.loads(file.read_text(encoding="utf-8"))
        body, signature, chain = receipt["body"], receipt["signature"], receipt["chain"].encode()
        signed = canonical(body)
        wrong = check_receipt(body, picture.read_bytes() if picture else None)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInput(f"{file} is not a receipt; give the JSON file that `tribute download` wrote") from error
    anchor = read_root(root) if root else open_workshop(starter=None).studio().root
    if not verify_signature(signed, str(signature), chain, anchor):
        wrong.append("signature: does not fit the receipt, or its studio's root is another one")
    if as_json:
        print_json({"receipt": str(file), "valid": not wrong, "wrong": wrong})
    else:
        typer.echo("\n".join(wrong) if wrong else f"{say('receipt')} {body['picture']['id']}: OK")
    raise typer.Exit(1 if wrong else 0)
