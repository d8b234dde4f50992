import math

from hypothesis import given
from hypothesis import strategies as st

from tribute.credit.shares import Scores, to_credits

parties = st.dictionaries(st.sampled_from(["base", "ada", "bo", "chen"]), st.floats(-1, 1, allow_nan=False), min_size=1)


@given(parties)
def test_shares_sum_to_one_and_are_never_negative(found):
    credits = to_credits(Scores("m", "d", {"base": 0.0, **found}), {"ada": "ada"}, True)
    assert sum(share.share_ppm for share in credits.shares) == 1_000_000
    assert min(share.share_ppm for share in credits.shares) >= 0


def test_negative_scores_are_clipped_and_said_so():
    credits = to_credits(Scores("m", "d", {"base": 0.5, "ada": -0.1, "bo": 0.5}), {"ada": "a", "bo": "b"}, True)
    assert {share.party: share.share_ppm for share in credits.shares} == {"base": 500_000, "bo": 500_000, "ada": 0}
    assert "ada" in credits.note


def test_where_nothing_is_known_the_base_has_it_all():
    for score in (0.0, -1.0, math.nan):
        credits = to_credits(Scores("m", "d", {"base": score, "ada": score}), {}, True)
        assert credits.shares[0].party == "base"
        assert credits.shares[0].share_ppm == 1_000_000


def test_an_outside_base_is_unknown():
    credits = to_credits(Scores("m", "d", {"base": 1.0, "ada": 1.0}), {"ada": "a"}, False)
    assert [share.party for share in credits.shares] == ["unknown-base", "ada"]
    assert credits.shares[0].artist_id is None
