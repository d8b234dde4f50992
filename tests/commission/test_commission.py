import json

import numpy as np
import pytest
from PIL import Image

from tribute.collection.consent import record_terms
from tribute.collection.library import withdraw_artist
from tribute.collection.snapshot import take_snapshot
from tribute.commission import Ask, check_ask, commission, credited, keep, pending_pictures, work_off
from tribute.ledger.book import all_balances, trial_balance
from tribute.ledger.payouts import set_payee
from tribute.ledger.refund import refund
from tribute.ledger.topup import top_up
from tribute.ledger.verifier import check
from tribute.provenance.certificate import verify_signature
from tribute.provenance.verify import verify
from tribute.records import Conflict, InsufficientFunds, InvalidInput, InvalidPrompt, NotAllowed, Payee, Pending, StyleUse, Terms, Unknown, canonical, utc_now
from tribute.store.schema import pictures


def ask(*styles, **more):
    uses = tuple(StyleUse(name=name, weight=weight) for name, weight in styles)
    return Ask(prompt="a blue heart", styles=uses, seed=7, **({"steps": 2, "width": 64, "height": 64} | more))


def signed(bench, receipt):
    said = canonical({"version": receipt["version"], "hashes": receipt["hashes"]})
    return verify_signature(said, receipt["signature"]["value"], receipt["signature"]["chain"].encode(), bench.desk.studio.root)


def stored(bench):
    with bench.desk.database.reading() as connection:
        return len(connection.execute(pictures.select()).all())


def test_the_whole_path(bench):
    (picture,) = commission(bench.desk, bench.model, ask(("ada", 1.0), ("bo", 0.7)))
    assert {share.party for share in picture.credits.shares} == {"base", "ada", "bo"}
    assert set(picture.credits.values) == {"v()", "v(ada)", "v(bo)", "v(ada+bo)"}
    sealed = bench.desk.blobs.get(picture.file_sha256)
    found = verify(sealed, "x.png", bench.desk.studio.root)
    assert (found.verdict, found.picture_id) == ("intact", picture.id)
    assert found.signature["facts"]["snapshot"] == picture.recipe.snapshot
    assert found.labels["tribute"]["credits"] == json.loads(json.dumps(picture.credits.document()))

    with pytest.raises(InsufficientFunds):
        keep(bench.desk, picture, "mei")
    top_up(bench.desk.database, "mei", 100, "CNY", "t")
    kept, receipt, moved = keep(bench.desk, picture, "mei")
    assert (kept, moved) == (sealed, True)
    _, again, moved = keep(bench.desk, picture, "mei")
    assert (again["sections"], moved) == (receipt["sections"], False)
    balances = all_balances(bench.desk.database)
    shares = {share.party: share.share_ppm for share in picture.credits.shares}
    assert balances["creator:mei", "CNY"] == 50_000_000
    assert balances["platform", "CNY"] == 15_000_000
    for name in ("ada", "bo"):
        assert abs(balances.get((f"artist:{name}-artist", "CNY"), 0) - 35 * shares[name]) <= 1
    assert trial_balance(bench.desk.database) == {"CNY": 0}
    assert check(receipt, None, sealed) == []
    assert signed(bench, receipt)


def test_the_same_ask_gives_the_same_pixels_and_shares(bench):
    first, again = (commission(bench.desk, bench.model, ask(("ada", 1.0)))[0] for _ in range(2))
    assert first.pixel_sha256 == again.pixel_sha256
    assert first.credits == again.credits
    assert first.id != again.id


def test_weight_zero_gets_nothing_and_equal_adapters_share_alike(bench):
    database, twin = bench.desk.database, bench.styles["ada"].model_copy(update={"name": "twin", "artist_id": "bo-artist"})
    from tribute.collection.library import put_style

    with database.writing() as connection:
        put_style(connection, twin)
    (picture,) = commission(bench.desk, bench.model, ask(("ada", 0.5), ("twin", 0.5), ("bo", 0.0)))
    shares = {share.party: share.share_ppm for share in picture.credits.shares}
    assert shares["bo"] == 0
    assert abs(shares["ada"] - shares["twin"]) <= 1


def test_an_outside_checkpoint_is_an_unknown_base(bench, tmp_path):
    import shutil

    from tribute.diffusion.loading import load_model

    folder = shutil.copytree(bench.folder, tmp_path / "outside")
    for claim in (None, "f" * 64):  # none at all, and one that this studio has never seen
        (folder / "tribute.json").unlink(missing_ok=True)
        if claim:
            (folder / "tribute.json").write_text(json.dumps({"snapshot": claim}))
        (picture,) = commission(bench.desk, load_model(str(folder), engine="torch"), ask())
        assert [share.party for share in picture.credits.shares] == ["unknown-base"]


def test_a_style_of_another_base_is_refused(bench, tmp_path):
    from tests.tiny import make_model
    from tribute.diffusion.loading import load_model

    with pytest.raises(InvalidInput, match="another base"):
        commission(bench.desk, load_model(str(make_model(tmp_path / "m")), engine="torch"), ask(("ada", 1.0)))


def test_unknown_styles_and_sizes_store_nothing(bench):
    with pytest.raises(Unknown, match="no style named 'zed'; there is ada, bo"):
        commission(bench.desk, bench.model, ask(("zed", 1.0)))
    with pytest.raises(InvalidInput):
        commission(bench.desk, bench.model, ask(width=66))
    assert stored(bench) == 0


def test_words_that_name_only_the_styles_worn_draw_nothing_but_may_stand_for_a_hand_over_a_picture(bench):
    """Of nothing else the model would be told a name that it has never read, and draw a blot."""
    worn = ask(("ada", 1.0), ("bo", 0.7))
    for prompt in ("ada", "in the style of Ada, bo", "Ada风格"):
        with pytest.raises(InvalidPrompt, match="names only the style, which is worn already; say what the picture should show"):
            commission(bench.desk, bench.model, worn.model_copy(update={"prompt": prompt}))
    assert stored(bench) == 0
    with bench.desk.database.reading() as connection:
        for fine in ({"prompt": "ada", "styles": ()}, {"prompt": "ada", "source_sha256": "0" * 64, "strength": 0.5}, {"prompt": "ada", "told": ""}):
            check_ask(connection, worn.model_copy(update=fine), bench.model)


def test_an_artist_leaves_and_it_holds_from_the_next_picture(bench):
    (before,) = commission(bench.desk, bench.model, ask(("ada", 1.0)))
    top_up(bench.desk.database, "mei", 1000, "CNY", "t")
    _, receipt, _ = keep(bench.desk, before, "mei")
    owed = all_balances(bench.desk.database)["artist:ada-artist", "CNY"]
    style = bench.styles["ada"]
    proof = withdraw_artist(bench.desk.database, bench.desk.blobs, "ada-artist", "enough")
    assert proof["styles"][0]["adapters_sha256"] == [style.adapter_sha256]
    with pytest.raises(NotAllowed, match="Ada does not consent to the style 'ada' since"):
        commission(bench.desk, bench.model, ask(("ada", 1.0)))
    with pytest.raises(Unknown):
        bench.desk.blobs.get(style.adapter_sha256)
    with bench.desk.database.writing() as connection, pytest.raises(InvalidInput, match="no work is allowed"):
        take_snapshot(connection, "style", "ada")
    assert all_balances(bench.desk.database)["artist:ada-artist", "CNY"] == owed
    assert check(receipt) == []
    assert signed(bench, receipt)
    (other,) = commission(bench.desk, bench.model, ask(("bo", 1.0)))
    assert {share.party for share in other.credits.shares} == {"base", "bo"}


def test_a_full_disk_stores_nothing(bench, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bench.desk.blobs, "put", full)
    with pytest.raises(OSError, match="No space"):
        commission(bench.desk, bench.model, ask())
    assert stored(bench) == 0


def test_the_watermark_is_in_the_stored_pixels(bench):
    import io

    (picture,) = commission(bench.desk, bench.model, ask(("ada", 1.0)))
    pixels = np.asarray(Image.open(io.BytesIO(bench.desk.blobs.get(picture.file_sha256))))
    from tribute.create.sample import pixel_hash

    assert pixel_hash(pixels) != picture.pixel_sha256


def test_a_refunded_picture_is_not_handed_over_again_for_nothing(bench):
    (picture,) = commission(bench.desk, bench.model, ask(("ada", 1.0)))
    top_up(bench.desk.database, "mei", 100, "CNY", "t")
    keep(bench.desk, picture, "mei")
    refund(bench.desk.database, f"download:mei:{picture.id}", "not as hoped", 7)
    with pytest.raises(Conflict, match="was refunded to mei"):
        keep(bench.desk, picture, "mei")
    _, _, moved = keep(bench.desk, picture, "mei", "again")
    assert moved
    assert all_balances(bench.desk.database)["creator:mei", "CNY"] == 50_000_000


def test_terms_hold_for_pictures_made_under_them(bench):
    (before,) = commission(bench.desk, bench.model, ask(("ada", 1.0), ("bo", 1.0)))
    agreed = Terms(artist_id="ada-artist", use="style", price_minor=80, currency="CNY", platform_bp=1000, since=utc_now())
    with bench.desk.database.writing() as connection:
        record_terms(connection, agreed)
        record_terms(connection, agreed.model_copy(update={"price_minor": 999, "since": utc_now().replace(year=2990)}))
    (after,) = commission(bench.desk, bench.model, ask(("ada", 1.0), ("bo", 1.0)))
    assert (before.price.amount_minor, before.price.artists_bp) == (50, {})
    assert (after.price.amount_minor, after.price.artists_bp) == (80, {"ada-artist": 1000})
    top_up(bench.desk.database, "mei", 1000, "CNY", "t")
    for picture, price, kept_part in ((before, 50, 0.7), (after, 80, 0.9)):
        held = all_balances(bench.desk.database).get(("artist:ada-artist", "CNY"), 0)
        _, receipt, _ = keep(bench.desk, picture, "mei")
        share = next(share.share_ppm for share in picture.credits.shares if share.party == "ada")
        earned = all_balances(bench.desk.database).get(("artist:ada-artist", "CNY"), 0) - held
        assert earned == pytest.approx(price * kept_part * share, abs=1)
        assert check(receipt) == []


def six(bench):
    """Six styles by six artists."""
    from tribute.collection.consent import record_consent
    from tribute.collection.library import put_artists, put_style
    from tribute.records import Artist, Consent

    with bench.desk.database.writing() as connection:
        for at in range(6):
            put_artists(connection, [Artist(id=f"p{at}", name=f"P{at}")])
            record_consent(connection, Consent(artist_id=f"p{at}", use="style", allowed=True, price_minor=50, since=utc_now(), basis="agreed"))
            put_style(connection, bench.styles["ada" if at % 2 else "bo"].model_copy(update={"name": f"s{at}", "artist_id": f"p{at}"}))
    return [(f"s{at}", 0.3) for at in range(6)]


def test_slow_credit_is_pending_until_it_is_worked_off(bench):
    (picture,) = commission(bench.desk, bench.model, ask(*six(bench)))
    assert picture.credits is None
    sealed = bench.desk.blobs.get(picture.file_sha256)
    assert verify(sealed, "x.png", bench.desk.studio.root).labels["tribute"]["credits"] == {"method": "pending", "shares": []}
    top_up(bench.desk.database, "mei", 100, "CNY", "t")
    with pytest.raises(Pending, match="is pending"):
        keep(bench.desk, picture, "mei")
    assert all_balances(bench.desk.database)["creator:mei", "CNY"] == 100 * 10**6
    assert pending_pictures(bench.desk.database) == [picture]
    done = work_off(bench.desk.database, bench.desk.blobs, bench.model, picture)
    assert done.credits.method == "shapley-sampled"
    assert work_off(bench.desk.database, bench.desk.blobs, bench.model, picture) == done == credited(bench.desk.database, picture)
    assert pending_pictures(bench.desk.database) == []
    _, receipt, moved = keep(bench.desk, picture, "mei")
    assert moved
    assert check(receipt, None, sealed) == []


def test_six_names_with_one_account_are_one_artist_and_credited_at_once(bench):
    styles = six(bench)
    for at in range(6):
        set_payee(bench.desk.database, Payee(artist_id=f"p{at}", name="P", iban="DE89370400440532013000", since=utc_now()))
    (picture,) = commission(bench.desk, bench.model, ask(*styles))
    assert picture.credits.method == "shapley-exact"
    assert len({share.share_ppm for share in picture.credits.shares if share.artist_id}) <= 2  # equal weights, equal parts
