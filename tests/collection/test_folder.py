import json

import pytest

from tests.conftest import flat_art, save_png
from tribute.collection.folder import folder_works, slug
from tribute.collection.library import add_works
from tribute.records import InvalidManifest, InvalidPicture
from tribute.store.blobs import MemoryBlobs
from tribute.store.schema import works

HEAD = "file,title,caption_en,caption_zh,artist,licence\n"


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        save_png(tmp_path / f"{number}.png", flat_art(40, number))
    return tmp_path


def write(folder, text, name="works.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_is_read_with_its_artists(folder, memory):
    manifest = write(folder, HEAD + "0.png,One,a box,盒子,Ada Blum,CC-BY-4.0\n1.png,Two,,方块,王小明,CC0-1.0\n")
    found = list(folder_works(manifest, "mine"))
    assert [artist.name for artist, _, _ in found] == ["Ada Blum", "王小明"]
    assert found[0][1].captions_zh == ("盒子",)
    assert found[1][1].captions_en == ("方块",)
    assert found[0][1].licence.credit_line == "“One” by Ada Blum, CC-BY-4.0"
    assert len(add_works(memory, MemoryBlobs(), found)) == 2


def test_a_jsonl_is_read(folder):
    rows = [{"file": "0.png", "title": "One", "caption_en": "a box", "artist": "Ada", "licence": "LicenseRef-mine"}]
    manifest = write(folder, "\n".join(map(json.dumps, rows)), "works.jsonl")
    assert next(folder_works(manifest, "mine"))[1].licence.spdx == "LicenseRef-mine"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,title\n0.png,One\n", "lacks the columns artist, licence"),
        (HEAD, "describes no picture"),
        (HEAD + "0.png,One,a,,Ada,WTF-1.0\n", "unknown licence 'WTF-1.0'"),
        (HEAD + "0.png,,a,,Ada,CC0-1.0\n", "title is empty"),
        (HEAD + "0.png,One,,,Ada,CC0-1.0\n", "neither caption_en nor caption_zh"),
        (HEAD + "../../etc/passwd,One,a,,Ada,CC0-1.0\n", "leads out of the folder"),
        (HEAD + "/etc/passwd,One,a,,Ada,CC0-1.0\n", "leads out of the folder"),
    ],
)
def test_a_bad_manifest_is_one_clear_line(folder, text, says):
    with pytest.raises(InvalidManifest, match=says):
        list(folder_works(write(folder, text), "mine"))


def test_a_bad_picture_stops_the_import_with_nothing_recorded(folder, memory):
    (folder / "1.png").write_bytes(b"\x89PNG\r\n\x1a\ncut")
    manifest = write(folder, HEAD + "0.png,One,a,,Ada,CC0-1.0\n1.png,Two,b,,Ada,CC0-1.0\n")
    with pytest.raises(InvalidPicture, match=r"works\.csv line 3: 1\.png"):
        add_works(memory, MemoryBlobs(), folder_works(manifest, "mine"))
    with memory.reading() as connection:
        assert connection.execute(works.select()).all() == []


@pytest.mark.parametrize("name", ["missing.csv", "notes.jsonl", "latin.csv"])
def test_what_is_no_manifest_is_refused(folder, name):
    (folder / "notes.jsonl").write_text("not json\n")
    (folder / "latin.csv").write_bytes(b"file,title\n\xff\xfe")
    with pytest.raises(InvalidManifest):
        list(folder_works(folder / name, "mine"))


def test_names_become_ids():
    assert slug("Ada Blum") == "ada-blum"
    assert slug("王小明") == slug("王小明") != slug("李雷")


def test_different_names_have_different_ids_and_one_id_one_name(folder, memory):
    assert len({slug(name) for name in ("José", "Jos", "张三 A", "李四 A", "A", "x" * 60, "x" * 61)}) == 7
    add_works(memory, MemoryBlobs(), folder_works(write(folder, HEAD + "0.png,One,a,,Ada Blum,CC0-1.0\n"), "mine"))
    with pytest.raises(InvalidManifest, match="stands for 'Ada Blum'"):
        add_works(memory, MemoryBlobs(), folder_works(write(folder, HEAD + "1.png,Two,b,,Ada-Blum,CC0-1.0\n"), "other"))


@pytest.mark.parametrize("file", ["a\\u0000.png", "\\ud800.png"])
def test_hostile_strings_are_one_clear_line(folder, file):
    row = f'{{"file": "{file}", "title": "x", "caption_en": "x", "artist": "Ada", "licence": "CC0-1.0"}}'
    with pytest.raises(InvalidManifest, match="control characters"):
        list(folder_works(write(folder, row, "works.jsonl"), "mine"))
