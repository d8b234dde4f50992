import io

import numpy as np
import pytest
from PIL import Image

from tests.conftest import flat_art, make_picture
from tribute.provenance import credentials, label, watermark
from tribute.provenance.certificate import make_studio, open_studio, verify_signature
from tribute.provenance.verify import verify
from tribute.records import StyleUse, Unreadable


@pytest.fixture(scope="module")
def sealed(studio):
    recipe = make_picture({}).recipe.model_copy(update={"prompt": "a 蓝 <fox>, & co", "styles": (StyleUse(name="ada", weight=0.5),)})
    shares = make_picture({"ada": 300_000}).credits.document()
    png = label.labelled_png(watermark.embed(flat_art(), "deadbeef"), "deadbeef", recipe, shares, "Tribute")
    return credentials.sign(png, credentials.manifest("deadbeef", "fox", recipe.document(), shares, {"ada": "Ada Blum"}), studio)


def test_a_sealed_picture_is_intact_and_names_its_artists(sealed, studio):
    found = verify(sealed, "x.png", studio.root)
    assert (found.verdict, found.picture_id, found.watermark) == ("intact", "deadbeef", "deadbeef")
    assert found.signature["facts"]["styles"] == [{"name": "ada", "weight": "0.5", "artist": "Ada Blum"}]
    assert found.signature["facts"]["snapshot"] == "1" * 64
    assert found.labels["digital_source_type"].endswith("trainedAlgorithmicMedia")
    assert '"Label":"1"' in found.labels["aigc"]
    assert '"ProduceID":"deadbeef"' in found.labels["aigc"]
    assert found.labels["tribute"]["recipe"]["prompt"] == "a 蓝 <fox>, & co"


def test_another_studios_root_does_not_vouch(sealed):
    assert verify(sealed, "x.png", make_studio().root).verdict == "signed"


@pytest.mark.parametrize("place", [0.3, 0.5, 0.9])
def test_one_changed_byte_is_never_intact(sealed, studio, place):
    changed = bytearray(sealed)
    changed[int(len(sealed) * place)] ^= 1
    found = verify(bytes(changed), "x.png", studio.root)
    assert (found.verdict, found.signature["state"]) == ("changed", "Invalid")


def test_changed_pixels_with_good_checksums_are_invalid(sealed, studio):
    """Text appended after signing is how other tools break signatures: it must be seen."""
    end = sealed.rindex(b"IEND") - 4
    import struct
    import zlib

    data = b"tEXt" + b"Comment\0added later"
    chunk = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    found = verify(sealed[:end] + chunk + sealed[end:], "x.png", studio.root)
    assert found.verdict == "changed"
    assert found.signature["state"] == "Invalid"


def test_a_resaved_jpeg_keeps_only_the_watermark(sealed, studio):
    buffer = io.BytesIO()
    Image.open(io.BytesIO(sealed)).convert("RGB").save(buffer, "JPEG", quality=75)
    found = verify(buffer.getvalue(), "x.jpg", studio.root)
    assert (found.verdict, found.picture_id, found.signature["state"]) == ("marked", "deadbeef", "none")


def test_a_strangers_picture_has_nothing(studio):
    buffer = io.BytesIO()
    Image.fromarray(flat_art()).save(buffer, "PNG")
    assert verify(buffer.getvalue(), "x.png", studio.root).verdict == "nothing"


def test_pixels_moved_under_another_manifest_are_seen(studio):
    recipe, shares = make_picture({}).recipe, make_picture({}).credits.document()
    png = label.labelled_png(watermark.embed(flat_art(), "00000001"), "00000002", recipe, shares, "Tribute")
    signed = credentials.sign(png, credentials.manifest("00000002", "t", recipe.document(), shares, {}), studio)
    assert verify(signed, "x.png", studio.root).verdict == "changed"


def test_the_infotext_is_what_a1111_writes():
    recipe = make_picture({}).recipe.model_copy(update={"negative_prompt": "rain", "styles": (StyleUse(name="ada", weight=0.8),)})
    lines = label.infotext(recipe).splitlines()
    assert lines[0] == "a fox <lora:ada:0.8>"
    assert lines[1] == "Negative prompt: rain"
    assert lines[2].startswith("Steps: 2, Sampler: DDIM, CFG scale: 3, Seed: 1, Size: 128x128, Model hash: 0000000000, Model: m")


def test_the_certificate_is_made_once_and_signs(tmp_path):
    first, again = open_studio(tmp_path / "studio"), open_studio(tmp_path / "studio")
    assert first == again
    assert (tmp_path / "studio" / "studio.pem").stat().st_mode & 0o077 == 0
    assert verify_signature(b"x", first.sign(b"x"), first.chain, first.root)
    assert not verify_signature(b"y", first.sign(b"x"), first.chain, first.root)
    assert not verify_signature(b"x", first.sign(b"x"), first.chain, make_studio().root)
    assert not verify_signature(b"x", "nonsense", b"nonsense", None)
    (tmp_path / "studio" / "studio.pem").write_bytes(b"damaged")
    with pytest.raises(Unreadable):
        open_studio(tmp_path / "studio")


def test_marking_is_not_shown_in_the_pixels_hash():
    assert np.abs(watermark.embed(flat_art(), "deadbeef").astype(int) - flat_art()).max() < 60


@pytest.mark.parametrize("facts", [{"picture": "deadbeef"}, {"picture": ["x"]}, ["a"], "str", {"picture": "../../x"}])
def test_a_strangers_signature_is_never_believed(studio, facts):
    """Anybody can sign a manifest that names one of our pictures: only our own certificate counts."""
    stranger = make_studio()
    buffer = io.BytesIO()
    Image.fromarray(flat_art()).save(buffer, "PNG")
    recipe, shares = make_picture({}).recipe.document(), make_picture({}).credits.document()
    definition = credentials.manifest("deadbeef", "x", recipe, shares, {})
    definition["assertions"][-1]["data"] = facts
    found = verify(credentials.sign(buffer.getvalue(), definition, stranger), "x.png", studio.root)
    assert (found.verdict, found.picture_id) == ("signed", None)
