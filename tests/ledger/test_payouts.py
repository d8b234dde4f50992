import xml.etree.ElementTree as ET
from datetime import date, timedelta

import pytest
from pydantic import ValidationError

from tests.conftest import make_picture
from tribute.ledger.book import all_balances
from tribute.ledger.download import download_transaction
from tribute.ledger.group import post
from tribute.ledger.payouts import move_payout, pain_001, payees_of, payouts_on, request_payout, set_payee
from tribute.ledger.refund import refund
from tribute.ledger.settlement import settle, week_of
from tribute.ledger.topup import top_up
from tribute.records import Conflict, InsufficientFunds, InvalidInput, NotAllowed, Payee, Unknown, utc_now

NOW = week_of(utc_now())
IBAN = "DE89370400440532013000"


def earned(database, downloads=4):
    top_up(database, "mei", 1000, "CNY", "t")
    for number in range(downloads):
        post(database, download_transaction(make_picture({"ada": 500_000}), "mei", f"d{number}"))
    settle(database, NOW)
    return downloads * 35 // 2


def held(database, account):
    return all_balances(database).get((account, "CNY"), 0) // 10**6


def test_a_payout_goes_through_its_states_and_each_counts_once(database):
    due = earned(database)
    made = request_payout(database, "ada", "CNY", "k")
    assert request_payout(database, "ada", "CNY", "k") == made
    assert (made.amount_minor, held(database, "payable:ada"), held(database, f"payout:{made.id}")) == (due, 0, due)
    with pytest.raises(Conflict, match="only when it is sent"):
        move_payout(database, made.id, "confirmed")
    for _ in range(2):
        move_payout(database, made.id, "sent")
    assert held(database, f"transit:{made.id}") == due
    with pytest.raises(Conflict):
        move_payout(database, made.id, "cancelled")
    for _ in range(2):
        move_payout(database, made.id, "confirmed")
    assert (held(database, "cash"), held(database, f"transit:{made.id}")) == (-1000 + due, 0)
    with pytest.raises(Conflict):
        move_payout(database, made.id, "returned")
    with database.reading() as connection:
        assert [one.state for one in payouts_on(connection)] == ["confirmed"]


def test_what_the_bank_returns_can_be_asked_for_again(memory):
    due = earned(memory)
    first = request_payout(memory, "ada", "CNY", "k", due - 1)
    with pytest.raises(Conflict, match="another amount"):
        request_payout(memory, "ada", "CNY", "k", due)
    with pytest.raises(InsufficientFunds):
        request_payout(memory, "ada", "CNY", "k2", 2)
    move_payout(memory, first.id, "sent")
    move_payout(memory, first.id, "returned", "account closed")
    assert request_payout(memory, "ada", "CNY", "k3").amount_minor == due
    with pytest.raises(Unknown):
        move_payout(memory, "000000000000", "sent")
    with pytest.raises(InvalidInput, match="one of sent"):
        move_payout(memory, first.id, "burnt")


def test_the_bank_file_is_valid_pain_001_with_the_payouts_in_it(memory):
    earned(memory)
    made = request_payout(memory, "ada", "CNY", "k")
    set_payee(memory, Payee(artist_id="ada", name="Wrong", iban="GB29NWBK60161331926819", since=utc_now()))
    set_payee(memory, Payee(artist_id="ada", name="Ada 艾达 <&>", iban=IBAN, bic="COBADEFF", since=utc_now()))
    with memory.reading() as connection:
        accounts = payees_of(connection, ["ada", "bo"])
    data = pain_001([made], accounts, "Tribute", IBAN, date(2026, 11, 23))
    assert pain_001([made], accounts, "Tribute", IBAN, date(2026, 11, 23)).split(b"<CreDtTm>")[0] == data.split(b"<CreDtTm>")[0]  # one message id
    import xmlschema
    from sepaxml import validation

    schema = xmlschema.XMLSchema(validation.__file__.replace("validation.py", "schemas/pain.001.001.09.xsd"))
    schema.validate(data.decode())
    tree = ET.fromstring(data)
    space = {"p": "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"}
    amount = tree.find(".//p:InstdAmt", space)
    assert (amount.text, amount.attrib["Ccy"]) == ("0.70", "CNY")
    assert tree.find(".//p:EndToEndId", space).text == made.id
    assert tree.find(".//p:CdtrAcct//p:IBAN", space).text == IBAN
    with pytest.raises(InvalidInput, match="no account is known for ada"):
        pain_001([made], {}, "Tribute", IBAN, date(2026, 11, 23))
    with pytest.raises(InvalidInput, match="no payout"):
        pain_001([], accounts, "Tribute", IBAN, date(2026, 11, 23))


@pytest.mark.parametrize("iban", ["DE89370400440532013001", "DE8937040044053201300", "", "DE89 3704", "XX" + "0" * 40, "de89370400440532013000"])
def test_an_account_number_with_a_slip_in_it_is_refused(iban):
    with pytest.raises(ValidationError):
        Payee(artist_id="ada", name="Ada", iban=iban, since=utc_now())


def test_a_refund_in_an_open_week_takes_every_part_back(database):
    top_up(database, "mei", 100, "CNY", "t")
    post(database, download_transaction(make_picture({"ada": 500_000}), "mei", "d1"))
    assert refund(database, "d1", "not as hoped", 7) == refund(database, "d1", "again", 7)
    assert {account for (account, _), amount in all_balances(database).items() if amount} == {"cash", "creator:mei"}
    (statement,) = settle(database, NOW)
    assert (statement.due_minor, statement.lines[0].downloads) == (0, 0)


def test_a_refund_after_the_week_was_closed_is_borne_by_the_studio(database):
    due = earned(database)
    refund(database, "d1", "late", 7)
    assert held(database, "payable:ada") == due
    assert (held(database, "refunds"), held(database, "creator:mei")) == (-50, 1000 - 3 * 50)
    with pytest.raises(InsufficientFunds, match="not earned enough"):
        refund(database, "d2", "late", 7)  # 4 × 15 earned, 50 of it gone
    assert held(database, "refunds") == -50


def test_a_refund_that_comes_too_late_or_for_nothing(memory):
    earned(memory)
    with pytest.raises(NotAllowed, match="more than 7 days ago"):
        refund(memory, "d1", "late", 7, utc_now() + timedelta(days=7, minutes=1))
    for key in ("t", "nothing", f"settle:{NOW}:ada:CNY"):
        with pytest.raises(Unknown):
            refund(memory, key, "no", 7)
