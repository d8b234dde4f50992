"""ledger: check, root, export. receipt: get, verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tribute.studio.cli.show import Json, print_json
from tribute.studio.words import say

app = typer.Typer(help="The journal: check it, publish a week's root, export it.", no_args_is_help=True)
receipt_app = typer.Typer(help="Receipts for kept pictures.", no_args_is_help=True)


@app.command()
def check(as_json: Json = False) -> None:
    """Read the whole journal again: every hash, the chain, the weeks' roots, and all sums. Exit code 1 where anything is off."""
    from tribute.ledger.audit import audit
    from tribute.records.money import format_micro
    from tribute.studio.wiring import open_workshop

    found = audit(open_workshop(starter=None).database)
    if as_json:
        print_json(found)
    else:
        sums = ", ".join(format_micro(amount, currency) for currency, amount in found["trial_balance_micro"].items()) or "0"
        typer.echo("\n".join(found["wrong"]) or f"{found['entries']} {say('entries')}: OK\n{say('total')} {sums}\n{say('chain')} {found['chain']}")
    raise typer.Exit(1 if found["wrong"] else 0)


@app.command()
def root(
    week: Annotated[str, typer.Argument(help="A closed ISO week, such as 2026-W47.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write it to (JSON); publish it where artists can read it.")] = None,
) -> None:
    """The Merkle root of a closed week, as JSON: what receipts are checked against."""
    from tribute.ledger.receipt import published_root
    from tribute.ledger.settlement import week_end
    from tribute.ledger.verifier import layout
    from tribute.store.blobs import write_file
    from tribute.studio.wiring import open_workshop

    week_end(week)
    with open_workshop(starter=None).database.reading() as connection:
        found = published_root(connection, week)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_file(output, layout(found))
    typer.echo(layout(found).decode(), nl=False)


@app.command()
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    as_json: Json = False,
) -> None:
    """Write the journal as a beancount file that asserts every balance."""
    from tribute.ledger.audit import beancount_lines
    from tribute.store.blobs import write_file
    from tribute.studio.wiring import open_workshop

    with open_workshop(starter=None).database.reading() as connection:
        lines = list(beancount_lines(connection))
    output.parent.mkdir(parents=True, exist_ok=True)
    write_file(output, ("\n".join(lines) + "\n").encode())
    if as_json:
        print_json({"path": str(output), "lines": len(lines)})
    else:
        typer.echo(str(output))


@receipt_app.command("get")
def get_receipt(
    picture: Annotated[str, typer.Argument(help="A picture's id, or a file that Tribute made.")],
    name: Annotated[str, typer.Option("--as", help="The creator who kept it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for it.")] = Path(),
    key: Annotated[str | None, typer.Option(help="The idempotency key that it was kept with, if one was given.")] = None,
    as_json: Json = False,
) -> None:
    """Fetch a receipt again; after its week was closed it has the path to the week's root."""
    from tribute.commission import vouched
    from tribute.ledger.book import creator_account
    from tribute.ledger.receipt import stored_receipt
    from tribute.ledger.verifier import layout
    from tribute.records import InvalidInput
    from tribute.store.blobs import write_file
    from tribute.studio.wiring import open_workshop

    creator_account(name)
    if output.exists() and not output.is_dir():
        raise InvalidInput(f"{output} is not a folder")
    workshop = open_workshop()
    found, _ = workshop.picture(picture)
    with workshop.database.reading() as connection:
        stored = stored_receipt(connection, f"download:{name}:{key or found.id}")
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"tribute-{found.id}.receipt.json"
    write_file(path, layout(vouched(workshop.desk(), stored)))
    if as_json:
        print_json({"path": str(path), "week": stored["proof"] and stored["proof"]["week"]})
    else:
        typer.echo(str(path))


def _published(given: str | None) -> Any:
    from tribute.records import InvalidInput

    if given is None or (len(given) == 64 and set(given) <= set("0123456789abcdef")):
        return given
    try:
        return json.loads(Path(given).read_bytes()[:1_000_000])
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{given} is no published root; give the file that `tribute ledger root` wrote, or its 64 hexadecimal digits") from error


def _voucher(receipt: Any, published: Any, certificate: Path | None) -> tuple[list[str], str]:
    """(what is wrong with what vouches for the receipt, what that is)"""
    from tribute.provenance.certificate import read_root, verify_signature
    from tribute.records import canonical
    from tribute.studio.wiring import open_workshop

    if receipt["proof"] is not None and published is not None:
        return [], "published root"
    if receipt["proof"] is not None:
        return ["proof: hold it against the root that was published for its week, with --root"], "nothing"
    if "signature" not in receipt:
        return ["signature: there is none, and no path to a published root either"], "nothing"
    anchor = read_root(certificate) if certificate else open_workshop(starter=None).studio().root
    signed = canonical({"version": receipt["version"], "hashes": receipt["hashes"]})
    try:
        good = verify_signature(signed, str(receipt["signature"]["value"]), receipt["signature"]["chain"].encode(), anchor)
    except (KeyError, TypeError, AttributeError):
        good = False
    return ([] if good else ["signature: does not fit the receipt, or its studio's root certificate is another one"]), "signature"


@receipt_app.command("verify")
def receipt_verify(
    file: Annotated[Path, typer.Argument(help="A receipt (JSON).")],
    picture: Annotated[Path | None, typer.Option(help="The picture that it is for, to check that too.")] = None,
    root: Annotated[str | None, typer.Option(help="The published root of its week: a file, or 64 hexadecimal digits.")] = None,
    certificate: Annotated[Path | None, typer.Option(help="While the week is open: the root certificate (PEM) of the studio; this one's by default.")] = None,
    as_json: Json = False,
) -> None:
    """Check a receipt with no database: each part, its arithmetic, its picture, and what vouches for it. Exit code 0 where all is well, 1 where not."""
    from tribute.ledger.verifier import NoReceipt, check_layout, read
    from tribute.ledger.verifier import check as check_receipt
    from tribute.records import InvalidInput

    published = _published(root)
    try:
        if file.stat().st_size > 10_000_000:
            raise InvalidInput(f"{file} is larger than a receipt can be")
        data = file.read_bytes()
        receipt: Any = read(data)
        wrong = check_receipt(receipt, published, picture.read_bytes() if picture else b"") + check_layout(data, receipt)
    except NoReceipt as error:
        raise InvalidInput(f"{file} is not a receipt; give the JSON file that `tribute download` wrote: {error}") from error
    off, by = _voucher(receipt, published, certificate)
    wrong += off
    if as_json:
        print_json({"receipt": str(file), "valid": not wrong, "vouched_by": by, "wrong": wrong})
    else:
        typer.echo("\n".join(wrong) if wrong else f"{say('receipt')} {receipt['sections']['picture']['id']}: OK ({say(by)})")
    raise typer.Exit(1 if wrong else 0)
