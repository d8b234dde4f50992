"""What gaming credit gains, on the starter: at most 1.05 times the honest income, but for the one that policy has to hold."""

import pytest
from bench.attacks import ATTACKS
from bench.rig import Rig

BOUND = 1.05
HELD_BY_POLICY = ("two names, two accounts",)


@pytest.fixture(scope="module")
def rig():
    return Rig()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in HELD_BY_POLICY])
def test_no_attack_gains(name, rig):
    gain, why = ATTACKS[name](rig)
    assert why
    assert 0 <= gain <= BOUND, f"{gain:.3f}"


@pytest.mark.slow
@pytest.mark.parametrize("name", HELD_BY_POLICY)
def test_what_policy_has_to_hold_is_small_and_said(name, rig):
    gain, why = ATTACKS[name](rig)
    assert "policy" in why
    assert gain <= 1.5, f"{gain:.3f}"


@pytest.mark.slow
def test_naming_a_worn_style_draws_as_if_nothing_was_said(rig):
    gain, _ = ATTACKS["the style's name stuffed in the prompt"](rig)
    assert gain == pytest.approx(1.0, abs=1e-6)
