import gzip
import json

import pytest

from tests.conftest import CC_BY, make_work
from tribute.collection.consent import allows, in_force, record_consent
from tribute.collection.library import export_collection, install_collection, put_artists, put_style, put_works, withdraw_artist
from tribute.collection.snapshot import take_snapshot
from tribute.records import Artist, Consent, InvalidManifest, Snapshot, Style, Unknown, sha256, utc_now
from tribute.store.blobs import MemoryBlobs
from tribute.store.database import Database, documents
from tribute.store.schema import snapshots, styles, works


def shipped(folder, adapter=b"first"):
    """A folder as the starter ships it: one artist, ada, with a style."""
    database = Database("sqlite://")
    with database.writing() as connection:
        put_artists(connection, [Artist(id="ada", name="Ada")])
        put_works(connection, [make_work("ada", "ada", number) for number in range(3)])
        record_consent(connection, Consent(artist_id="ada", use="style", allowed=True, price_minor=50, since=utc_now(), basis="CC-BY-4.0"))
        snapshot = take_snapshot(connection, "style", "ada")
        style = Style(
            name="ada", artist_id="ada", title_en="Ada", title_zh="艾达", licence=CC_BY, snapshot=snapshot.hash, adapter_sha256=sha256(adapter),
            base_snapshot="0" * 64,
        )  # fmt: skip
        put_style(connection, style)
        export_collection(connection, folder)
    (folder / "styles").mkdir(exist_ok=True)
    (folder / "styles" / "ada.safetensors").write_bytes(adapter)
    return style


def test_a_collection_travels_whole_and_installing_twice_is_harmless(tmp_path, memory):
    style, blobs = shipped(tmp_path), MemoryBlobs()
    for _ in range(2):
        install_collection(memory, blobs, tmp_path)
    with memory.reading() as connection:
        assert len(connection.execute(works.select()).all()) == 3
        assert allows(in_force(connection, "ada"), "style") is not None
    assert blobs.get(style.adapter_sha256) == b"first"


def test_works_have_their_own_hashes_however_their_lines_are_written(tmp_path, memory):
    shipped(tmp_path)
    wanted = {make_work("ada", "ada", number).hash for number in range(3)}
    lines = gzip.decompress((tmp_path / "works.jsonl.gz").read_bytes()).splitlines()
    loose = [json.dumps(json.loads(line), indent=None).encode() for line in lines[1:]]  # with spaces; one line stays as it is shipped
    (tmp_path / "works.jsonl.gz").write_bytes(gzip.compress(b"\n".join([lines[0], *loose])))
    install_collection(memory, MemoryBlobs(), tmp_path)
    with memory.reading() as connection:
        assert {(row.hash, sha256(row.document.encode())) for row in connection.execute(works.select())} == {(digest, digest) for digest in wanted}


def test_snapshots_cite_lines_and_no_others_are_taken_for_theirs(tmp_path, memory):
    style = shipped(tmp_path)
    whole = json.loads((tmp_path / "collection.json").read_text())
    (snapshot,) = whole["snapshots"]
    assert (snapshot["hash"], snapshot["works"]) == (style.snapshot, [0, 1, 2])
    install_collection(memory, MemoryBlobs(), tmp_path)
    with memory.reading() as connection:
        assert [found.hash for found in documents(connection, snapshots, Snapshot)] == [style.snapshot]
    for wrong in ([0, 1], [0, 2, 1], [0, 1, -1], [0, 1, 3]):
        (tmp_path / "collection.json").write_text(json.dumps(whole | {"snapshots": [snapshot | {"works": wrong}]}))
        with pytest.raises(InvalidManifest, match="of one export"):
            install_collection(Database("sqlite://"), MemoryBlobs(), tmp_path)
    for wrong in (["0" * 64], "012", 3):
        (tmp_path / "collection.json").write_text(json.dumps(whole | {"snapshots": [snapshot | {"works": wrong}]}))
        with pytest.raises(InvalidManifest, match="cannot be read"):
            install_collection(Database("sqlite://"), MemoryBlobs(), tmp_path)


def test_a_newer_training_replaces_the_older(tmp_path, memory):
    blobs = MemoryBlobs()
    shipped(tmp_path)
    install_collection(memory, blobs, tmp_path)
    newer = shipped(tmp_path, b"second")
    install_collection(memory, blobs, tmp_path)
    with memory.reading() as connection:
        assert [style.adapter_sha256 for style in documents(connection, styles, Style)] == [newer.adapter_sha256]


def test_what_is_said_anew_of_the_same_adapter_is_taken_over_and_the_adapter_stays(tmp_path, memory):
    blobs = MemoryBlobs()
    style = shipped(tmp_path)
    install_collection(memory, blobs, tmp_path)
    everything = json.loads((tmp_path / "collection.json").read_text())
    everything["styles"][0]["smoothing"] = 0.008
    (tmp_path / "collection.json").write_text(json.dumps(everything))
    install_collection(memory, blobs, tmp_path)
    with memory.reading() as connection:
        assert [found.smoothing for found in documents(connection, styles, Style)] == [0.008]
    assert blobs.get(style.adapter_sha256) == b"first"


def test_a_withdrawal_outlasts_every_reinstallation(tmp_path, memory):
    blobs = MemoryBlobs()
    style = shipped(tmp_path)
    install_collection(memory, blobs, tmp_path)
    withdraw_artist(memory, blobs, "ada", "enough")
    for adapter in (b"first", b"second"):
        newer = shipped(tmp_path, adapter)
        install_collection(memory, blobs, tmp_path)
        for digest in (style.adapter_sha256, newer.adapter_sha256):
            with pytest.raises(Unknown):
                blobs.get(digest)
        with memory.reading() as connection:
            assert allows(in_force(connection, "ada"), "style") is None


def test_damaged_files_are_one_clear_line(tmp_path, memory):
    shipped(tmp_path)
    (tmp_path / "works.jsonl.gz").write_bytes(b"cut")
    with pytest.raises(InvalidManifest, match="cannot be read"):
        install_collection(memory, MemoryBlobs(), tmp_path)
    with memory.reading() as connection:
        assert connection.execute(works.select()).all() == []
