import copy
import json
import random
import subprocess
import sys
from datetime import timedelta

import pytest

from tests.conftest import make_picture
from tribute.ledger import verifier
from tribute.ledger.book import post_on
from tribute.ledger.download import download_transaction
from tribute.ledger.receipt import published_root, receipt_of, stored_receipt
from tribute.ledger.settlement import settle, week_of
from tribute.ledger.topup import top_up
from tribute.records import Price, Unknown, utc_now
from tribute.records.merkle import merkle_path, merkle_root
from tribute.records.money import split

NOW = week_of(utc_now())


def kept(database, count=5, close=True):
    """`count` downloads with receipts, their week closed."""
    top_up(database, "mei", 10_000, "CNY", "t")
    for number in range(count):
        picture = make_picture({"ada": 300_000 + number, "bo": 200_000}, picture_id=f"{number:08x}")
        transaction = download_transaction(picture, "mei", f"d{number}")
        with database.writing() as connection:
            assert post_on(connection, transaction, receipt_of(picture, transaction, ("1" * 64,)))
    if close:
        settle(database, NOW)
    with database.reading() as connection:
        return [stored_receipt(connection, f"d{number}") for number in range(count)]


def test_every_receipt_of_a_week_leads_to_its_root(database):
    found = kept(database)
    with database.reading() as connection:
        root = published_root(connection, NOW)
    assert root["entries"] == 6
    for number, receipt in enumerate(found):
        assert verifier.check(receipt, root, f"{number:08x}".encode()) == []
        assert verifier.check(receipt, root["root"]) == []
    assert verifier.check(found[0], root, b"another") == ["picture: the file is not the one that this receipt is for"]
    assert verifier.check(found[0], "0" * 64) == ["proof: its root is not the one that was published"]
    with database.reading() as connection, pytest.raises(Unknown):
        published_root(connection, "1999-W01")


def test_an_open_week_has_no_proof_yet(memory):
    (receipt,) = kept(memory, 1, close=False)
    assert receipt["proof"] is None
    assert verifier.check(receipt) == []
    assert verifier.check(receipt, "0" * 64) == ["proof: there is none; fetch the receipt again after its week was closed"]


def test_a_receipt_of_an_earlier_week_keeps_its_own_root(memory):
    top_up(memory, "mei", 1000, "CNY", "t")
    for days, key in ((7, "before"), (0, "now")):
        picture = make_picture({"ada": 300_000}, picture_id=f"{days:08x}")
        transaction = download_transaction(picture, "mei", key).model_copy(update={"created": utc_now() - timedelta(days=days)})
        with memory.writing() as connection:
            post_on(connection, transaction, receipt_of(picture, transaction, ()))
        settle(memory, week_of(transaction.created))
    with memory.reading() as connection:
        for key, week in (("before", week_of(utc_now() - timedelta(days=7))), ("now", NOW)):
            assert verifier.check(stored_receipt(connection, key), published_root(connection, week)) == []


def test_any_changed_byte_fails_and_the_line_says_where(memory, tmp_path):
    """Every byte of a proved receipt's file, changed one at a time: refused each time, in this process and its parts by name."""
    receipt = kept(memory, 3)[1]
    with memory.reading() as connection:
        root = published_root(connection, NOW)
    data = verifier.layout(receipt)
    rng, told = random.Random(1), set()
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] = (changed[at] + rng.choice((1, 2, 31))) % 128
        try:
            found = verifier.read(bytes(changed))
            wrong = verifier.check(found, root) + verifier.check_layout(bytes(changed), found)
        except verifier.NoReceipt:
            continue
        assert wrong, (at, data[max(0, at - 20) : at + 20])
        told |= {line.split(":")[0] for line in wrong}
    assert {"picture", "recipe", "credits", "price", "transaction", "snapshots", "proof", "layout"} <= told


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("credits", "shares", 1, "share_ppm"), 300_002, "sum to one"),
        (("price", "amount_minor"), 51, "pay the price"),
        (("price", "platform_bp"), 2999, "exact part"),
        (("transaction", "postings", 1, "amount_micro"), 1, "exact part"),
        (("transaction", "memo", "picture"), "ffffffff", "another picture"),
    ],
)
def test_money_that_does_not_follow_is_told_even_where_all_hashes_were_redone(memory, path, value, says):
    changed = copy.deepcopy(kept(memory, 1)[0])
    place = changed["sections"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    changed["hashes"] = {name: verifier.sha(verifier.canonical(section)) for name, section in changed["sections"].items()}
    assert any(says in line for line in verifier.check(changed))
    assert any(line.startswith("proof") for line in verifier.check(changed))


@pytest.mark.parametrize("what", [{}, [], None, 3, {"version": 1}, {"version": 2}, {"version": 2, "sections": 3}, "x"])
def test_what_is_no_receipt_is_refused(what):
    with pytest.raises(verifier.NoReceipt):
        verifier.check(what)


def test_terms_of_one_artist_are_checked_too(memory):
    picture = make_picture({"ada": 300_000, "bo": 200_000})
    picture = picture.model_copy(update={"price": Price(amount_minor=51, currency="CNY", platform_bp=3000, artists_bp={"bo": 1234})})
    receipt = receipt_of(picture, download_transaction(picture, "mei", "k"), ())
    assert verifier.check(receipt) == []


def test_the_verifier_runs_alone_with_nothing_installed(memory, tmp_path):
    """Python without site-packages, in an empty folder, on a copy of the one file."""
    receipt = kept(memory, 2)[0]
    (tmp_path / "verifier.py").write_bytes(open(verifier.__file__, "rb").read())
    (tmp_path / "receipt.json").write_bytes(verifier.layout(receipt))
    with memory.reading() as connection:
        (tmp_path / "root.json").write_bytes(verifier.layout(published_root(connection, NOW)))
    command = [sys.executable, "-I", "-S", "verifier.py", "receipt.json", "--root", "root.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={})
    assert (done.returncode, done.stdout) == (0, "receipt of picture 00000000: all holds; leads to the published root\n")
    receipt["sections"]["recipe"]["prompt"] = "a wolf"
    (tmp_path / "receipt.json").write_bytes(verifier.layout(receipt))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={})
    assert (done.returncode, done.stdout) == (1, "recipe: it was changed, or its hash was\n")
    (tmp_path / "receipt.json").write_text("nothing")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={}).returncode == 2


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_merkle_paths_of_any_number_of_leaves(count):
    leaves = [verifier.sha(str(at).encode()) for at in range(count)]
    root = merkle_root("2026-W47", leaves)
    assert all(verifier.root_of("2026-W47", count, leaf, merkle_path(leaves, at)) == root for at, leaf in enumerate(leaves))
    assert merkle_root("2026-W48", leaves) != root
    assert json.dumps(split(7, {"a": 1, "b": 1})) == '{"a": 4, "b": 3}'
