from datetime import timedelta

import pytest
from sqlalchemy import text

from tests.conftest import make_picture
from tribute.ledger.book import all_balances, trial_balance
from tribute.ledger.download import download_transaction
from tribute.ledger.group import post
from tribute.ledger.refund import refund
from tribute.ledger.settlement import read_statements, settle, week_of
from tribute.ledger.topup import top_up
from tribute.records import InvalidInput, utc_now

NOW = week_of(utc_now())


def keep(database, key, share=333_333, artist="ada", picture_id="00000001", ago_days=0):
    transaction = download_transaction(make_picture({artist: share}, picture_id=picture_id), "mei", key)
    post(database, transaction.model_copy(update={"created": utc_now() - timedelta(days=ago_days)}))


def test_a_week_pays_whole_units_and_carries_the_rest(database):
    top_up(database, "mei", 1000, "CNY", "t")
    keep(database, "d1")
    keep(database, "d2")
    (statement,) = settle(database, NOW)
    due_micro = 2 * 35 * 333_333
    assert statement.due_minor == due_micro // 10**6 == 23
    assert statement.carried_forward_micro == due_micro - 23 * 10**6
    line = statement.lines[0]
    assert (line.downloads, line.mean_share_ppm, line.due_micro) == (2, 333_333, due_micro)
    assert line.gross_micro - line.platform_micro == line.due_micro
    assert all_balances(database)["payable:ada", "CNY"] == 23 * 10**6
    assert trial_balance(database) == {"CNY": 0}


def test_closing_twice_pays_once(database):
    top_up(database, "mei", 1000, "CNY", "t")
    keep(database, "d1")
    assert settle(database, NOW) == settle(database, NOW)
    assert all_balances(database)["payable:ada", "CNY"] == 11 * 10**6
    with database.reading() as connection:
        assert [one.due_minor for one in read_statements(connection, NOW)] == [11]


def test_weeks_follow_one_another_and_carry_forward(database):
    top_up(database, "mei", 1000, "CNY", "t")
    keep(database, "d1", ago_days=7)
    keep(database, "d2", picture_id="00000002")
    before = week_of(utc_now() - timedelta(days=7))
    (first,) = settle(database, before)
    assert [line.picture_id for line in first.lines] == ["00000001"]
    (second,) = settle(database, NOW)
    assert [line.picture_id for line in second.lines] == ["00000002"]
    assert second.brought_forward_micro == first.carried_forward_micro
    assert (first.due_minor + second.due_minor) * 10**6 + second.carried_forward_micro == 2 * 35 * 333_333


def test_a_reversed_download_is_taken_off_its_line(database):
    top_up(database, "mei", 1000, "CNY", "t")
    keep(database, "d1")
    keep(database, "d2")
    refund(database, "d2", "not as hoped", 7)
    (statement,) = settle(database, NOW)
    assert statement.lines[0].downloads == 1
    assert statement.lines[0].due_micro == 35 * 333_333


def test_nothing_earned_is_no_statement(database):
    assert settle(database, NOW) == []


@pytest.mark.parametrize("week", ["2026-47", "2026-W60", "last", "2999-W01", "'; DROP TABLE weeks"])
def test_a_bad_week_is_refused(memory, week):
    with pytest.raises(InvalidInput):
        settle(memory, week)


def test_an_earlier_week_cannot_be_closed_after_a_later_one(memory):
    settle(memory, NOW)
    with pytest.raises(InvalidInput, match="closed already"):
        settle(memory, "2026-W01")
    with memory.reading() as connection:
        assert connection.execute(text("SELECT COUNT(*) FROM weeks")).scalar_one() == 1
