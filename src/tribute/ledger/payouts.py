"""Payouts: requested → sent → confirmed, or returned; before it is sent, cancelled. Every step is a transaction.

    requested   payable:ARTIST → payout:ID        sent      payout:ID → transit:ID
    confirmed   transit:ID → cash                 returned  transit:ID → payable:ARTIST
    cancelled   payout:ID → payable:ARTIST

The bank file is ISO 20022 pain.001 (customer credit transfer initiation) by sepaxml, checked against its own schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, insert, select

from tribute.ledger.book import journal, lock, post_on, transaction_on
from tribute.records import MICRO, Conflict, InsufficientFunds, InvalidInput, NotInstalled, Payee, Posting, Transaction, Unknown, canonical, sha256, utc_now
from tribute.records.money import EXPONENTS
from tribute.store.database import Database
from tribute.store.schema import balances, payees, transactions

PAIN = "pain.001.001.09"
FROM = {"sent": ("requested",), "cancelled": ("requested",), "confirmed": ("sent",), "returned": ("sent",)}


@dataclass(frozen=True)
class Payout:
    """A payout as its newest transaction leaves it."""

    id: str
    artist_id: str
    amount_minor: int
    currency: str
    state: str


def payouts_on(connection: Connection, payout_id: str | None = None) -> list[Payout]:
    """Every payout, or the one of that id, oldest first."""
    where = [transactions.c.kind == "payout"]
    if payout_id is not None:
        where.append(transactions.c.key.in_([f"payout:{payout_id}:{state}" for state in ("requested", *FROM)]))
    found: dict[str, Payout] = {}
    for _, step in journal(connection, *where):
        memo = step.memo
        found[memo["payout"]] = Payout(memo["payout"], memo["artist"], memo["amount_minor"], memo["currency"], memo["state"])
    return list(found.values())


def _step(payout: Payout, state: str, source: str, target: str, reason: str = "") -> Transaction:
    amount = payout.amount_minor * MICRO
    lines = (
        Posting(account=source, amount_micro=-amount, currency=payout.currency),
        Posting(account=target, amount_micro=amount, currency=payout.currency),
    )
    memo: dict[str, Any] = {
        "payout": payout.id, "artist": payout.artist_id, "amount_minor": payout.amount_minor, "currency": payout.currency, "state": state,
    }  # fmt: skip
    memo |= {"reason": reason} if reason else {}
    return Transaction(key=f"payout:{payout.id}:{state}", kind="payout", postings=lines, memo=memo, created=utc_now())


def request_payout(database: Database, artist_id: str, currency: str, key: str, amount_minor: int | None = None) -> Payout:
    """Asks for what a closed week made payable, all of it unless an amount is given; one key asks once.

    Raises InsufficientFunds where there is nothing, or less than asked for; Conflict where the key asked for another amount.
    """
    payout_id = sha256(canonical([artist_id, currency, key]))[:12]
    with database.writing() as connection:
        lock(connection)
        before = payouts_on(connection, payout_id)
        if before:
            if amount_minor not in (None, before[0].amount_minor):
                raise Conflict(f"the key {key!r} asked for another amount before; give a new key")
            return before[0]
        query = select(balances.c.amount_micro).where(balances.c.account == f"payable:{artist_id}", balances.c.currency == currency)
        payable = (connection.execute(query).scalar_one_or_none() or 0) // MICRO
        wanted = payable if amount_minor is None else amount_minor
        if not 0 < wanted <= payable:
            raise InsufficientFunds(f"{artist_id} has {payable} minor units of {currency} payable, {wanted} cannot be paid out; settle a week first")
        made = Payout(payout_id, artist_id, wanted, currency, "requested")
        post_on(connection, _step(made, "requested", f"payable:{artist_id}", f"payout:{payout_id}"))
        return made


def move_payout(database: Database, payout_id: str, state: str, reason: str = "") -> Payout:
    """The next step of a payout: sent, confirmed, returned or cancelled. Said again it is the same one.

    Raises Unknown for an id that there is not, Conflict for a step that does not follow from where the payout stands.
    """
    if state not in FROM:
        raise InvalidInput(f"{state!r} is no step of a payout; give one of {', '.join(FROM)}")
    with database.writing() as connection:
        lock(connection)
        found = payouts_on(connection, payout_id)
        if not found:
            raise Unknown.of("payout", payout_id)
        payout = found[0]
        if transaction_on(connection, f"payout:{payout.id}:{state}") is not None:
            return payout
        if payout.state not in FROM[state]:
            raise Conflict(f"payout {payout.id} is {payout.state}; it can be {state} only when it is {FROM[state][0]}")
        ends = {
            "sent": (f"payout:{payout.id}", f"transit:{payout.id}"),
            "confirmed": (f"transit:{payout.id}", "cash"),
            "returned": (f"transit:{payout.id}", f"payable:{payout.artist_id}"),
            "cancelled": (f"payout:{payout.id}", f"payable:{payout.artist_id}"),
        }
        post_on(connection, _step(payout, state, *ends[state], reason))
        return Payout(payout.id, payout.artist_id, payout.amount_minor, payout.currency, state)


def set_payee(database: Database, payee: Payee) -> None:
    """Where an artist's money goes from now on; earlier ones are kept."""
    with database.writing() as connection:
        connection.execute(insert(payees).values(artist_id=payee.artist_id, document=canonical(payee.document()).decode()))


def payees_of(connection: Connection, artists: Iterable[str]) -> dict[str, Payee]:
    """The newest payee of each artist who has one."""
    query = select(payees.c.document).where(payees.c.artist_id.in_(sorted(set(artists)))).order_by(payees.c.seq)
    found = [Payee.model_validate_json(document) for document in connection.execute(query).scalars()]
    return {payee.artist_id: payee for payee in found}


def pain_001(payouts: Sequence[Payout], accounts: dict[str, Payee], studio_name: str, studio_iban: str, when: date) -> bytes:
    """The bank file for payouts of one currency. The same payouts give the same message id, so a bank refuses a file sent twice.

    Raises InvalidInput for an artist without an account, more than one currency, or one that is not counted in hundredths.
    """
    try:
        from sepaxml import SepaTransfer
        from sepaxml.validation import ValidationError as SchemaError
    except ImportError as error:
        raise NotInstalled("bank files need sepaxml; install it with pip install 'tribute[payouts]'") from error

    currencies = {payout.currency for payout in payouts}
    if len(currencies) != 1:
        raise InvalidInput(f"a bank file has payouts of one currency, got {', '.join(sorted(currencies)) or 'no payout'}")
    (currency,) = currencies
    if EXPONENTS.get(currency, 2) != 2:
        raise InvalidInput(f"the bank file counts in hundredths, {currency} does not; pay it by another way and confirm it by hand")
    homeless = sorted({payout.artist_id for payout in payouts} - set(accounts))
    if homeless:
        raise InvalidInput(f"no account is known for {', '.join(homeless)}; say tribute artist payee ID --name NAME --iban IBAN")
    message = sha256(canonical(sorted(payout.id for payout in payouts)))[:32]

    class Transfer(SepaTransfer):  # type: ignore[misc]
        def _create_header(self) -> None:
            self.msg_id = message
            super()._create_header()

    transfer = Transfer({"name": studio_name, "IBAN": studio_iban, "batch": True, "currency": currency, "domestic": currency != "EUR"}, schema=PAIN)
    for payout in payouts:
        payee = accounts[payout.artist_id]
        line = {"name": payee.name, "IBAN": payee.iban, "amount": payout.amount_minor, "execution_date": when, "endtoend_id": payout.id,
                "description": f"Tribute {payout.id} {payout.artist_id}"[:140]}  # fmt: skip
        transfer.add_payment(line | ({"BIC": payee.bic} if payee.bic else {}))
    try:
        return bytes(transfer.export(validate=True))
    except SchemaError as error:
        raise InvalidInput(f"the bank file would not fit {PAIN}: {error.__cause__ or error}; mend the payees' names and accounts") from error
