import threading

import pytest
from sqlalchemy import text

from tests.conftest import make_picture
from tribute.ledger.book import all_balances, balance_micro, creator_account, post_on, read_transaction, trial_balance
from tribute.ledger.download import download_transaction
from tribute.ledger.group import post
from tribute.ledger.settlement import settle, week_of
from tribute.ledger.topup import top_up
from tribute.records import Conflict, InsufficientFunds, InvalidInput, utc_now
from tribute.store.database import Database


def count(database, table):
    with database.reading() as connection:
        return connection.execute(text(f"SELECT COUNT(*) FROM {table}")).scalar_one()


def test_money_in_and_a_retry_counts_once(database):
    assert top_up(database, "mei", 2000, "CNY", "t1")
    assert not top_up(database, "mei", 2000, "CNY", "t1")
    assert balance_micro(database, "creator:mei", "CNY") == 2000 * 10**6
    with pytest.raises(Conflict, match="used before"):
        top_up(database, "mei", 3000, "CNY", "t1")
    assert trial_balance(database) == {"CNY": 0}


def test_a_download_without_funds_posts_nothing(database):
    top_up(database, "mei", 49, "CNY", "t1")
    with pytest.raises(InsufficientFunds, match="mei has not enough"):
        post(database, download_transaction(make_picture({"ada": 300_000}), "mei", "d1"))
    assert count(database, "transactions") == 1
    assert count(database, "postings") == 2


def test_what_was_posted_is_read_back(database):
    top_up(database, "mei", 100, "CNY", "t1")
    wanted = download_transaction(make_picture({"ada": 300_000}), "mei", "d1")
    post(database, wanted)
    found = read_transaction(database, "d1")
    assert sorted(found.postings, key=str) == sorted(wanted.postings, key=str)
    assert found.memo == wanted.memo
    assert read_transaction(database, "d2") is None


def test_one_key_from_many_clients_at_once_has_one_effect(database_url):
    opened = Database(database_url)
    top_up(opened, "mei", 10_000, "CNY", "t1")
    picture, outcomes = make_picture({"ada": 300_000}), []

    def client(number):
        for key in ("same", f"own-{number}"):
            outcomes.append((key, post(opened, download_transaction(picture, "mei", key))))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(moved for key, moved in outcomes if key == "same") == 1
    assert len(outcomes) == 64
    assert balance_micro(opened, "creator:mei", "CNY") == (10_000 - 33 * 50) * 10**6
    assert trial_balance(opened) == {"CNY": 0}
    assert sum(all_balances(opened).values()) == 0
    opened.close()


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "../x", "a:b", "-a", "蓝"])
def test_a_name_that_no_account_can_have(name):
    with pytest.raises(InvalidInput):
        creator_account(name)


def test_the_second_caller_waits_for_the_first_and_sees_that_it_posted(database_url):
    """A posts and has not committed; B says the same key: B must wait, then find it done."""
    opened = Database(database_url)
    top_up(opened, "mei", 1000, "CNY", "t1")
    transaction, outcome = download_transaction(make_picture({"ada": 300_000}), "mei", "d1"), []
    other = threading.Thread(target=lambda: outcome.append(post(opened, transaction)))
    with opened.writing() as connection:
        assert post_on(connection, transaction)
        other.start()
        other.join(0.5)
        assert outcome == []
    other.join(20)
    assert outcome == [False]
    assert balance_micro(opened, "creator:mei", "CNY") == 950 * 10**6
    opened.close()


def test_a_settlement_waits_for_downloads_not_yet_committed(database_url):
    opened = Database(database_url)
    top_up(opened, "mei", 1000, "CNY", "t1")
    found = []
    closing = threading.Thread(target=lambda: found.extend(settle(opened, week_of(utc_now()))))
    with opened.writing() as connection:
        post_on(connection, download_transaction(make_picture({"ada": 1_000_000}), "mei", "d1"))
        closing.start()
        closing.join(0.5)
        assert found == []
    closing.join(20)
    assert [one.due_minor for one in found] == [35]
    opened.close()


def test_those_who_post_together_do_not_fail_for_one_another(database):
    """Thirty-two at once, every fourth without the money and every fifth under a used key: the rest go through."""
    top_up(database, "rich", 10_000, "CNY", "t1")
    top_up(database, "poor", 10, "CNY", "t2")
    picture, outcomes, gate = make_picture({"ada": 300_000}), {}, threading.Barrier(32)

    def client(number):
        creator, key = ("poor" if number % 4 == 0 else "rich"), ("t1" if number % 5 == 0 else f"d{number}")
        gate.wait()
        try:
            outcomes[number] = post(database, download_transaction(picture, creator, key))
        except (InsufficientFunds, Conflict) as error:
            outcomes[number] = type(error)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    expected = {number: Conflict if number % 5 == 0 else InsufficientFunds if number % 4 == 0 else True for number in range(32)}
    assert outcomes == expected
    paid = sum(value is True for value in expected.values())
    assert balance_micro(database, "creator:rich", "CNY") == (10_000 - 50 * paid) * 10**6
    assert balance_micro(database, "creator:poor", "CNY") == 10 * 10**6
