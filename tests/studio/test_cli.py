"""The command line as a person uses it: one line and exit code 2 for what they can mend, nothing half-written."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.conftest import flat_art, save_png
from tests.tiny import make_adapter
from tribute.provenance.copies import descriptor
from tribute.provenance.fingerprints import FINGERPRINTS, build_fingerprints, fingerprints_of
from tribute.records import canonical, sha256
from tribute.studio.cli import main


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return end.value.code, printed.out, printed.err


def created(capsys, tmp_path, *more):
    code, out, err = run(capsys, "create", "a blue heart", "--seed", 1, "--steps", 2, "--size", "64x64", "-o", tmp_path / "out", "--json", *more)
    assert code == 0, err
    return json.loads(out)[0]


def test_the_loop_from_the_command_line(home, tmp_path, capsys):
    made = created(capsys, tmp_path, "--style", "ada:0.9", "--style", "bo")
    again = created(capsys, tmp_path, "--style", "ada:0.9", "--style", "bo")
    assert made["pixel_sha256"] == again["pixel_sha256"]
    assert run(capsys, "verify", made["path"])[0] == 0
    assert run(capsys, "topup", "mei", "1.00", "--key", "k")[0] == 0
    code, out, _ = run(capsys, "download", made["path"], "--as", "mei", "-o", tmp_path / "kept", "--json")
    receipt = json.loads(out)
    assert (code, receipt["moved"]) == (0, True)
    assert json.loads(run(capsys, "download", made["id"], "--as", "mei", "-o", tmp_path / "kept", "--json")[1])["moved"] is False
    code, out, _ = run(capsys, "receipt", "verify", receipt["receipt"], "--picture", receipt["path"])
    assert (code, "OK" in out) == (0, True)
    changed = json.loads(open(receipt["receipt"]).read())
    changed["sections"]["price"]["amount_minor"] += 1
    changed["hashes"]["price"] = sha256(canonical(changed["sections"]["price"]))
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(changed))
    code, out, _ = run(capsys, "receipt", "verify", bad)
    assert code == 1
    for part in ("transaction: the creator did not pay the price", "signature: does not fit", "layout: byte"):
        assert part in out
    from tribute.ledger.settlement import week_of
    from tribute.records import utc_now

    week = week_of(utc_now())
    statements = json.loads(run(capsys, "settle", "--week", week, "--json")[1])
    assert {one["artist_id"] for one in statements} <= {"ada-artist", "bo-artist"}
    assert json.loads(run(capsys, "statement", week, "--json", "-o", tmp_path / "statements")[1]) == statements
    assert len(list((tmp_path / "statements").iterdir())) == 4 * len(statements)
    for one in statements:
        page = (tmp_path / "statements" / f"{week}-{one['artist_id']}-CNY.zh.html").read_text()
        assert "结算单" in page
        assert made["id"] in page
        sheet = (tmp_path / "statements" / f"{week}-{one['artist_id']}-CNY.csv").read_text().splitlines()
        assert sheet[1].startswith(f"{made['id']},1,0.50,")
    code, out, _ = run(capsys, "ledger", "root", week, "-o", tmp_path / "root.json")
    assert code == 0
    assert run(capsys, "receipt", "get", made["id"], "--as", "mei", "-o", tmp_path / "proved")[0] == 0
    proved = next((tmp_path / "proved").iterdir())
    for root in (tmp_path / "root.json", json.loads(out)["root"]):
        code, out, _ = run(capsys, "receipt", "verify", proved, "--root", root, "--picture", receipt["path"])
        assert (code, "published root" in out) == (0, True)
    assert run(capsys, "receipt", "verify", proved, "--root", "0" * 64)[0] == 1
    assert run(capsys, "receipt", "verify", proved)[0] == 1  # nothing to hold it against
    assert "entries" in run(capsys, "ledger", "check")[1]
    assert run(capsys, "ledger", "export", "-o", tmp_path / "a.beancount")[0] == 0
    balance = json.loads(run(capsys, "balance", "--json")[1])
    assert balance["trial_balance_micro"] == {"CNY": 0}
    code, out, _ = run(capsys, "credit", made["id"], "--replay", "--json")
    assert json.loads(out)["credits"]["shares"] == made["credits"]["shares"]
    code, out, _ = run(capsys, "credit", made["path"], "--method", "keywords", "--heatmap", tmp_path / "heat.png", "--json")
    assert sum(word["share"] for word in json.loads(out)["words"]) == pytest.approx(1)
    assert (tmp_path / "heat.png").exists()


@pytest.mark.slow
def test_paying_an_artist_from_the_command_line(home, tmp_path, capsys):
    from tribute.ledger.settlement import week_of
    from tribute.records import utc_now

    assert run(capsys, "artist", "terms", "ada-artist", "--price", "2.00", "--platform", "10")[0] == 0
    made = created(capsys, tmp_path, "--style", "ada:0.9")
    assert (made["price"]["amount_minor"], made["price"]["artists_bp"]) == (200, {"ada-artist": 1000})
    for estimate in ("uniform", "catalogue-size", "keyword-attention", "shapley-exact"):
        code, out, err = run(capsys, "credit", made["id"], "--method", estimate, "--json")
        assert (code, sum(share["share_ppm"] for share in json.loads(out)["credits"]["shares"])) == (0, 1_000_000), err
    run(capsys, "topup", "mei", "20.00")
    assert run(capsys, "download", made["id"], "--as", "mei", "-o", tmp_path)[0] == 0
    assert json.loads(run(capsys, "refund", made["id"], "--as", "mei", "--json")[1])["kind"] == "refund"
    assert run(capsys, "download", made["id"], "--as", "mei", "-o", tmp_path)[0] == 2
    assert run(capsys, "download", made["id"], "--as", "mei", "--key", "more", "-o", tmp_path)[0] == 0
    run(capsys, "settle", "--week", week_of(utc_now()))
    (payout,) = json.loads(run(capsys, "payout", "request", "ada-artist", "--key", "k", "--json")[1])
    bank = tmp_path / "bank.xml"
    code, _, err = run(capsys, "payout", "send", "-o", bank, "--iban", "DE89370400440532013000")
    assert (code, "no account is known for ada-artist" in err, bank.exists()) == (2, True, False)
    assert run(capsys, "artist", "payee", "ada-artist", "--name", "Ada", "--iban", "DE89 3704 0044 0532 0130 01")[0] == 2
    assert run(capsys, "artist", "payee", "ada-artist", "--name", "Ada", "--iban", "GB29 NWBK 6016 1331 9268 19")[0] == 0
    assert run(capsys, "payout", "send", "-o", bank, "--iban", "DE89370400440532013000")[0] == 0
    assert "GB29NWBK60161331926819" in bank.read_text()
    assert run(capsys, "payout", "confirm", payout["id"])[0] == 0
    assert json.loads(run(capsys, "payout", "list", "--json")[1])[0]["state"] == "confirmed"
    for again in ("return", "cancel"):
        assert run(capsys, "payout", again, payout["id"])[0] == 2
    assert run(capsys, "credit-pending", "--json")[1].strip() == "[]"


def test_an_artist_leaves(home, tmp_path, capsys):
    code, out, _ = run(capsys, "artist", "withdraw", "ada-artist", "-o", tmp_path / "proof", "--json")
    proof = json.loads(out)["body"]
    assert code == 0
    assert proof["adapter_files_left"] == []
    assert proof["snapshots_after"]["ada"] is None
    code, _, err = run(capsys, "create", "a fox", "--style", "ada", "--steps", 1)
    assert code == 2
    assert "does not consent" in err
    assert run(capsys, "artist", "list")[0] == 0
    assert "withdrawn" in run(capsys, "style", "list")[1]


def test_importing_a_folder(home, tmp_path, capsys):
    save_png(tmp_path / "0.png", flat_art(40))
    manifest = tmp_path / "works.csv"
    manifest.write_text("file,title,caption_en,artist,licence\n0.png,One,a box,Cy,CC-BY-4.0\n")
    code, out, _ = run(capsys, "collection", "import", manifest, "--style", "cy", "--allow", "style", "--json")
    assert code == 0
    assert json.loads(out)["artists"] == ["cy"]
    code, out, _ = run(capsys, "collection", "snapshot", "style", "--style", "cy", "--json")
    assert len(json.loads(out)["works"]) == 1
    assert run(capsys, "collection", "import", manifest, "--style", "cy", "--allow", "everything")[0] == 2


BAD = [
    (("create", ""), "empty"),
    (("create", "x" * 10_000), "10,000 characters"),
    (("create", "a", "--style", "nobody"), "no style named 'nobody'; there is ada, bo"),
    (("create", "a", "--style", "ada:9"), "from 0 to 2"),
    (("create", "a", "--size", "63x64"), "multiple of"),
    (("create", "a", "--size", "large"), "WIDTHxHEIGHT"),
    (("create", "a", "--steps", "0"), "steps"),
    (("create", "a", "--seed", "-1"), "seed"),
    (("create", "a", "--count", "99"), "count"),
    (("create", "a", "--guidance", "nan"), "guidance"),
    (("create", "a", "--model", "/nowhere"), "no model at"),
    (("verify", "/nowhere.png"), "give the path of a picture"),
    (("credit", "00000000"), "no picture named"),
    (("credit", "00000000", "--heatmap", "x.png"), "goes with"),
    (("credit", "00000000", "--method", "works"), "no picture named"),
    (("refund", "00000000", "--as", "mei"), "no picture named"),
    (("ledger", "root", "2020-W01"), "no closed week named"),
    (("payout", "confirm", "nothing"), "no payout named"),
    (("artist", "terms", "nobody", "--price", "1", "--platform", "20"), "no artist named"),
    (("artist", "terms", "ada-artist", "--price", "1", "--platform", "101"), "platform_bp"),
    (("download", "00000000", "--as", "mei"), "no picture named"),
    (("download", "00000000", "--as", "../mei"), "cannot be a creator's name"),
    (("topup", "mei", "-5"), ""),
    (("topup", "mei", "1.005"), "not an amount"),
    (("settle", "--week", "soon"), "not an ISO week"),
    (("artist", "withdraw", "nobody"), "no artist named"),
    (("receipt", "verify", "/nowhere"), "No such file"),
    (("collection", "build", "laion"), "there is starter"),
    (("collection", "import", "/nowhere.csv", "--style", "x"), "give a CSV or JSONL"),
    (("train", "everything"), "no recipe named"),
    (("train", "towers", "--steps", "9"), "towers takes no --steps"),
    (("train", "student", "--steps", "0"), "--steps"),
    (("train", "unpack", "--start", "."), "no model that"),
    (("studio", "--port", "99999"), "out of range"),
    (("paint", "a"), ""),
]


@pytest.mark.parametrize(("arguments", "says"), BAD, ids=lambda value: " ".join(map(str, value))[:40] if isinstance(value, tuple) else "")
def test_bad_input_is_one_line_and_exit_code_2(home, tmp_path, capsys, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*.png"))
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert says in err
    assert sorted(tmp_path.rglob("*.png")) == before


def test_a_strangers_picture_is_not_downloaded(home, tmp_path, capsys):
    path = save_png(tmp_path / "mine.png", flat_art())
    code, _, err = run(capsys, "download", path, "--as", "mei")
    assert code == 2
    assert "was not made by Tribute" in err
    assert run(capsys, "verify", path)[0] == 1


def test_no_funds_no_file(home, tmp_path, capsys):
    made = created(capsys, tmp_path)
    code, _, err = run(capsys, "download", made["id"], "--as", "poor", "-o", tmp_path / "kept")
    assert code == 2
    assert "top up first" in err
    assert not list((tmp_path / "kept").glob("*")) if (tmp_path / "kept").exists() else True


def test_a_full_disk_is_one_line(home, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "picture.png")

    monkeypatch.setattr("tribute.store.blobs.os.fsync", full)
    code, _, err = run(capsys, "create", "a", "--steps", 1, "--size", "64x64", "-o", tmp_path / "out")
    assert code == 2
    assert "the disk is full" in err
    assert not list((tmp_path / "out").glob("*"))


def test_chinese_screens(home, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TRIBUTE_LANG", "zh_CN.UTF-8")
    code, out, _ = run(capsys, "create", "蓝色的心", "--steps", 1, "--size", "64x64", "-o", tmp_path / "out")
    assert code == 0
    assert "份额" in out


def test_whoever_gives_a_seed_is_told_where_another_stands_for_it(home, tmp_path, capsys, monkeypatch, tiny_folder):
    """The seed's own picture is made a work that nothing names."""
    folder = tmp_path / "with-a-student"
    shutil.copytree(tiny_folder[0], folder)
    (folder / "student").mkdir()
    (folder / "student" / "pytorch_lora_weights.safetensors").write_bytes(make_adapter(folder, 9))
    monkeypatch.setenv("TRIBUTE_MODEL", str(folder))

    def create(*more):
        code, out, err = run(capsys, "create", "a blue heart", "--seed", 1, "--count", 2, "--size", "64x64", "-o", tmp_path / "out", *more)
        assert code == 0, err
        return out

    own, _ = json.loads(create("--json"))
    drawn = np.asarray(Image.open(own["path"]).convert("RGB"))
    works = [drawn, *(flat_art(seed=seed, side=128) for seed in range(200))]
    build_fingerprints(np.stack([descriptor(work) for work in works])).save(folder / FINGERPRINTS)
    fingerprints_of.cache_clear()
    out = create()
    assert out.count("Led away from a near copy: in place of seed 1") == 1
    monkeypatch.setenv("TRIBUTE_LANG", "zh")
    assert "避开了近似的副本: 代替种子 1" in create()
