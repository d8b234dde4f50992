from datetime import timedelta

import pytest

from tests.conftest import CC0, make_work
from tribute.collection.consent import allowed_works, in_force, record_consent, refused, signals_in
from tribute.collection.library import put_works
from tribute.collection.snapshot import snapshot_works, take_snapshot
from tribute.records import Consent, InvalidInput, utc_now


def say(connection, use, allowed, artist="ada", when=None):
    record_consent(connection, Consent(artist_id=artist, use=use, allowed=allowed, since=when or utc_now(), basis="said"))


def test_silence_is_no(memory):
    with memory.writing() as connection:
        assert in_force(connection, "ada") == {}
        assert allowed_works(connection, [make_work("ada", "s", 1)], "style") == ([], [])


def test_the_last_word_counts_and_one_use_is_not_another(memory):
    with memory.writing() as connection:
        say(connection, "style", True)
        assert len(allowed_works(connection, [make_work("ada", "s", 1)], "style")[0]) == 1
        assert allowed_works(connection, [make_work("ada", "s", 1, CC0)], "train_base")[0] == []
        say(connection, "style", False, when=utc_now() + timedelta(seconds=1))
        assert allowed_works(connection, [make_work("ada", "s", 1)], "style")[0] == []


def test_the_base_takes_the_commons_only(memory):
    with memory.writing() as connection:
        say(connection, "train_base", True)
        free, attributed = make_work("ada", "s", 1, CC0), make_work("ada", "s", 2)
        assert allowed_works(connection, [free, attributed], "train_base")[0] == [free]


@pytest.mark.parametrize(
    ("signal", "forbids"),
    [
        ("cawg.ai_generative_training=notallowed", True),
        ("cawg.ai_training=constrained", True),
        ("c2pa.data_mining=allowed", False),
        ("plus:datamining=dmi-prohibited-aimltraining", True),
        ("plus:datamining=dmi-allowed", False),
        ("tdm-reservation=1", True),
        ("tdm-reservation=0", False),
    ],
)
def test_a_works_own_signal_can_only_take_away(memory, signal, forbids):
    work = make_work("ada", "s", 1, signals=(signal,))
    assert (refused(work) is not None) is forbids
    with memory.writing() as connection:
        say(connection, "style", True)
        assert (allowed_works(connection, [work], "style")[0] == []) is forbids


def test_signals_are_found_in_files():
    xmp = b'<x plus:DataMining="http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED-AIMLTRAINING" tdm:reservation="1"/>'
    assert signals_in(xmp) == ("plus:datamining=dmi-prohibited-aimltraining", "tdm-reservation=1")
    assert signals_in(b"nothing here") == ()


def test_a_snapshot_is_named_by_what_is_in_it(memory):
    works = [make_work("ada", "s", number) for number in range(3)]
    with memory.writing() as connection:
        put_works(connection, works)
        with pytest.raises(InvalidInput, match="no work is allowed"):
            take_snapshot(connection, "style", "s")
        say(connection, "style", True)
        one, again = take_snapshot(connection, "style", "s"), take_snapshot(connection, "style", "s")
        assert one.hash == again.hash
        assert {work.hash for work in snapshot_works(connection, one)} == {work.hash for work in works}
        put_works(connection, [make_work("ada", "s", 9)])
        assert take_snapshot(connection, "style", "s").hash != one.hash
