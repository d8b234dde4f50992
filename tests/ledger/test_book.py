import threading

import pytest
from sqlalchemy import text

from tests.conftest import make_picture
from tribute.ledger.book import all_balances, balance_micro, creator_account, post, read_transaction, reverse, top_up, trial_balance
from tribute.ledger.download import download_transaction
from tribute.records import Conflict, InsufficientFunds, InvalidInput
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


def test_a_reversal_undoes_and_is_itself_kept(database):
    top_up(database, "mei", 100, "CNY", "t1")
    post(database, download_transaction(make_picture({"ada": 300_000}), "mei", "d1"))
    reverse(database, "d1", "refund")
    reverse(database, "d1", "refund")
    assert balance_micro(database, "creator:mei", "CNY") == 100 * 10**6
    assert balance_micro(database, "artist:ada", "CNY") == 0
    assert count(database, "transactions") == 3
    for key in ("nothing", "reversal:d1"):
        with pytest.raises(InvalidInput):
            reverse(database, key, "again")


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

    threads = [threading.Thread(target=client, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(moved for key, moved in outcomes if key == "same") == 1
    assert len(outcomes) == 24
    assert balance_micro(opened, "creator:mei", "CNY") == (10_000 - 13 * 50) * 10**6
    assert trial_balance(opened) == {"CNY": 0}
    assert sum(all_balances(opened).values()) == 0
    opened.close()


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "../x", "a:b", "-a", "蓝"])
def test_a_name_that_no_account_can_have(name):
    with pytest.raises(InvalidInput):
        creator_account(name)
