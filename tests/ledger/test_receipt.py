import copy

import pytest

from tests.conftest import make_picture
from tribute.ledger.download import download_transaction
from tribute.ledger.receipt import check_receipt, receipt_body
from tribute.records import InvalidInput


@pytest.fixture
def body():
    picture = make_picture({"ada": 300_000, "bo": 200_000})
    return receipt_body(picture, download_transaction(picture, "mei", "k"), ("1" * 64,))


def test_a_true_receipt_has_nothing_wrong(body):
    assert check_receipt(body) == []
    assert check_receipt(body, b"00000001") == []
    assert check_receipt(body, b"another") == ["picture: the file is not the one that this receipt is for"]


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("credits", "shares", 1, "share_ppm"), 300_001, "sum"),
        (("price", "amount_minor"), 51, "postings"),
        (("price", "platform_bp"), 2999, "postings"),
        (("transaction", "postings", 1, "amount_micro"), 1, "does not balance"),
        (("transaction", "memo", "picture"), "ffffffff", "another picture"),
    ],
)
def test_a_changed_receipt_says_where(body, path, value, says):
    changed = copy.deepcopy(body)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert any(says in line for line in check_receipt(changed))


@pytest.mark.parametrize("what", [{}, {"version": 1}, {"version": 2}, {"version": 1, "price": 3}])
def test_what_is_no_receipt_is_refused(what):
    try:
        assert check_receipt(what) != []
    except InvalidInput:
        pass
