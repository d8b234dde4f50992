import pytest
from hypothesis import given
from hypothesis import strategies as st

from tribute.records import InvalidInput
from tribute.records.money import format_micro, format_minor, parse_minor, split

weights = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 10**9), min_size=1, max_size=8).filter(lambda w: sum(w.values()) > 0)


@given(st.integers(0, 10**15), weights)
def test_parts_sum_to_the_whole_and_are_within_one_unit(amount, by_name):
    parts = split(amount, by_name)
    total = sum(by_name.values())
    assert sum(parts.values()) == amount
    for name, part in parts.items():
        assert part >= 0
        assert abs(part * total - amount * by_name[name]) < total


def test_the_split_that_goes_negative_elsewhere():
    """0.09 by these weights gave −0.01 to one payee in a ledger library that calls itself largest remainder."""
    parts = split(9, dict(zip("abcdefgh", (39, 62, 46, 75, 28, 65, 18, 37), strict=True)))
    assert sum(parts.values()) == 9
    assert min(parts.values()) >= 0


def test_ties_go_to_the_earlier_name():
    assert split(1, {"b": 1, "a": 1}) == {"b": 0, "a": 1}
    assert split(2, {"c": 1, "b": 1, "a": 1}) == {"c": 0, "b": 1, "a": 1}


@pytest.mark.parametrize(("amount", "by_name"), [(-1, {"a": 1}), (1, {"a": 0}), (1, {}), (1, {"a": -1, "b": 2})])
def test_what_cannot_be_split_is_refused(amount, by_name):
    with pytest.raises(InvalidInput):
        split(amount, by_name)


def test_amounts_are_written_in_their_currency():
    assert format_minor(315000, "CNY") == "3150.00 CNY"
    assert format_minor(-5, "CNY") == "-0.05 CNY"
    assert format_minor(500, "JPY") == "500 JPY"
    assert format_minor(1234, "KWD") == "1.234 KWD"
    assert format_micro(10_500_000, "CNY") == "0.105 CNY"
    assert format_micro(-1, "CNY") == "-0.00000001 CNY"


def test_amounts_are_read_exactly_or_refused():
    assert parse_minor("20.00", "CNY") == 2000
    assert parse_minor("20", "JPY") == 20
    for text in ("0", "-1", "1.005", "nan", "inf", "ten", "", "1e30"):
        with pytest.raises(InvalidInput):
            parse_minor(text, "CNY")
