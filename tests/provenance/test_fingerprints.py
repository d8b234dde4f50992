import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.conftest import flat_art
from tests.provenance.test_copies import ATTACKS, laid_askew
from tribute.provenance import alignment
from tribute.provenance.copies import CopyIndex, descriptor
from tribute.provenance.fingerprints import ALIKE, FINGERPRINTS, Fingerprints, build_fingerprints, fingerprints_of
from tribute.records import Unreadable

WORKS = [flat_art(seed=seed, side=128) for seed in range(200)]


@pytest.fixture(scope="module")
def known():
    return build_fingerprints(np.stack([descriptor(work) for work in WORKS]))


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_copy_is_told_whatever_was_done_to_it(known, attack):
    for at in range(0, len(WORKS), 20):
        changed = attack(WORKS[at])
        similarity_N = known.similarities(changed, ALIKE)
        assert (similarity_N.argmax(), similarity_N.max() >= ALIKE) == (at, True)


def test_a_copy_that_is_smaller_turned_and_off_its_place_is_nearly_always_told(known):
    rows = range(0, len(WORKS), 20)
    alike = [known.similarities(laid_askew(WORKS[at])) for at in rows]
    assert [int(one.argmax()) for one in alike] == list(rows)
    assert sum(float(one.max()) >= ALIKE for one in alike) >= 0.8 * len(rows)


def test_a_stranger_is_none(known):
    assert [known.similarities(flat_art(seed=seed, side=128), ALIKE).max() >= ALIKE for seed in range(500, 510)] == [False] * 10


def test_poses_are_followed_of_works_alone_that_may_be_alike_enough_and_of_none_where_one_is_already(known, monkeypatch):
    posed, looks = alignment._posed, []
    monkeypatch.setattr(alignment, "_posed", lambda *given: looks.append(given) or posed(*given))
    askew = laid_askew(WORKS[20])
    asked = [(WORKS[20], ALIKE, True), (flat_art(seed=500, side=128), 0.99, False), (askew, ALIKE, True)]
    told, counted = [], []
    for picture, enough, _ in asked:
        looks.clear()
        told.append(bool(known.similarities(picture, enough).max() >= enough))
        counted.append(len(looks))
    assert told == [bool(known.similarities(picture).max() >= enough) for picture, enough, _ in asked] == [expected for *_, expected in asked]
    assert (counted[0], counted[1], counted[2] > 1) == (1, 1, True)
    whole, some, first = known.similarities(askew), known.similarities(askew, ALIKE), known.similarities(askew, 2.0)
    within = first >= ALIKE - alignment.LIFT
    assert 0 < within.sum() < alignment.FOLLOWED
    assert some[within] == pytest.approx(whole[within], abs=1e-5)  # as if all were followed
    assert (some[~within] == first[~within]).all()  # those further off are not


def test_one_plain_colour_is_like_nothing_and_hides_nothing(known):
    """Of a dot at the edge some shifts and zooms are plain; what the others are like must still be seen."""
    plain = np.full((128, 128, 3), 255, np.uint8)
    assert (known.similarities(plain) == 0).all()
    dotted = plain.copy()
    dotted[1, 1] = 0
    assert np.isfinite(known.similarities(dotted)).all()
    assert build_fingerprints(np.stack([descriptor(work) for work in (*[dotted] * 20, *WORKS)])).similarities(dotted, ALIKE).max() >= ALIKE


def test_they_are_near_what_the_descriptors_say(known):
    """In four bits, and the tenth part of the numbers, of works like each other."""
    ours = np.stack([known.similarities(work) for work in WORKS[:6]])
    whole = CopyIndex(WORKS)
    theirs = np.stack([whole.similarities(work) for work in WORKS[:6]])
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9


def test_they_are_96_bytes_a_work_and_stay_what_they_are_on_disk(known, tmp_path):
    known.save(tmp_path / FINGERPRINTS)
    assert known.codes_NP.nbytes == 96 * len(WORKS)
    again = fingerprints_of(tmp_path)
    assert (again.similarities(WORKS[3]) == known.similarities(WORKS[3])).all()
    assert fingerprints_of(tmp_path / "elsewhere") is None


def test_a_damaged_file_is_told(known, tmp_path):
    path = tmp_path / FINGERPRINTS
    known.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Unreadable, match=FINGERPRINTS):
        Fingerprints.load(path)
    parts = {"codes": known.codes_NP, "basis": known.basis_DK, "scale": known.scale_K, "mean": known.mean_K, "deviation": known.deviation_K}
    for name, part in parts.items():
        cut = part[..., :-1] if name != "basis" else part[:-1]
        save_file(parts | {name: np.ascontiguousarray(cut)}, path)
        with pytest.raises(Unreadable, match="do not fit"):
            Fingerprints.load(path)
    save_file({name: part for name, part in parts.items() if name != "mean"}, path)
    with pytest.raises(Unreadable, match="mean"):
        Fingerprints.load(path)
