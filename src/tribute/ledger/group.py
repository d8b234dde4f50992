"""Group commit: transactions that threads post at the same moment go to the database together.

Writers to the ledger take turns, and a turn ends when the disk has it. So whoever finds nobody writing leads: it takes everything that
waits, posts it in one database transaction, and hands the lead to somebody who came meanwhile. Where one of them cannot be posted
(no funds, a key used for something else) each is posted alone, so that nobody fails for another's sake.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy.exc import DBAPIError

from tribute.ledger.book import post_all_on
from tribute.records import Transaction, TributeError
from tribute.store.database import Database

AT_ONCE = 200


class _Entry:
    def __init__(self, transaction: Transaction, receipt: dict[str, Any] | None) -> None:
        self.transaction, self.receipt = transaction, receipt
        self.ready = threading.Event()
        self.leads = False
        self.moved: bool | None = None
        self.error: BaseException | None = None


class _Group:
    def __init__(self) -> None:
        self.mutex, self.waiting, self.led = threading.Lock(), list[_Entry](), False


_groups: WeakKeyDictionary[Database, _Group] = WeakKeyDictionary()
_making = threading.Lock()


def _post(database: Database, entries: Sequence[_Entry]) -> None:
    with database.writing() as connection:
        moved = post_all_on(connection, [entry.transaction for entry in entries], [entry.receipt for entry in entries])
    for entry, did in zip(entries, moved, strict=True):
        entry.moved = did


def _lead(database: Database, entries: Sequence[_Entry]) -> None:
    try:
        _post(database, entries)
    except (TributeError, DBAPIError):
        for entry in entries:
            try:
                _post(database, [entry])
            except BaseException as error:
                entry.error = error
    except BaseException as error:
        for entry in entries:
            entry.error = error


def post(database: Database, transaction: Transaction, receipt: dict[str, Any] | None = None) -> bool:
    """Posts a transaction, with the receipt that is given for it. False where it was posted before; of two callers with one key, one.

    Raises Conflict where the key was used for something else, InsufficientFunds where a balance would fall below zero.
    """
    with _making:
        group = _groups.setdefault(database, _Group())
    entry = _Entry(transaction, receipt)
    with group.mutex:
        group.waiting.append(entry)
        lead = not group.led
        group.led = True
    if not lead:
        entry.ready.wait()
        lead = entry.leads
    if lead:
        with group.mutex:
            others = [one for one in group.waiting if one is not entry][: AT_ONCE - 1]
            taken = [entry, *others]
            group.waiting = [one for one in group.waiting if one not in taken]
        try:
            _lead(database, taken)
        finally:
            with group.mutex:
                if group.waiting:
                    group.waiting[0].leads = True
                    group.waiting[0].ready.set()
                else:
                    group.led = False
            for one in others:
                one.ready.set()
    if entry.error is not None:
        raise entry.error
    assert entry.moved is not None
    return entry.moved
