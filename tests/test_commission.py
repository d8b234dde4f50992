import json

import numpy as np
import pytest
from PIL import Image

from tribute.collection.library import withdraw_artist
from tribute.collection.snapshot import take_snapshot
from tribute.commission import Ask, commission, keep
from tribute.ledger.book import all_balances, trial_balance
from tribute.ledger.receipt import check_receipt
from tribute.ledger.topup import top_up
from tribute.provenance.certificate import verify_signature
from tribute.provenance.verify import verify
from tribute.records import InsufficientFunds, InvalidInput, NotAllowed, StyleUse, Unknown, canonical
from tribute.store.schema import pictures


def ask(*styles, **more):
    uses = tuple(StyleUse(name=name, weight=weight) for name, weight in styles)
    return Ask(prompt="a blue heart", styles=uses, seed=7, **({"steps": 2, "width": 64, "height": 64} | more))


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
    assert (again["body"], moved) == (receipt["body"], False)
    balances = all_balances(bench.desk.database)
    shares = {share.party: share.share_ppm for share in picture.credits.shares}
    assert balances["creator:mei", "CNY"] == 50_000_000
    assert balances["platform", "CNY"] == 15_000_000
    for name in ("ada", "bo"):
        assert abs(balances.get((f"artist:{name}-artist", "CNY"), 0) - 35 * shares[name]) <= 1
    assert trial_balance(bench.desk.database) == {"CNY": 0}
    assert check_receipt(receipt["body"], sealed) == []
    assert verify_signature(canonical(receipt["body"]), receipt["signature"], receipt["chain"].encode(), bench.desk.studio.root)


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
    assert check_receipt(receipt["body"]) == []
    assert verify_signature(canonical(receipt["body"]), receipt["signature"], receipt["chain"].encode(), bench.desk.studio.root)
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
