"""The shipped model: stock diffusers loads it, and it is what it says it is."""

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tribute.collection.consent import COMMONS_LICENCES
from tribute.collection.library import snapshots_in
from tribute.records import Artist, Consent, Style, Work, sha256

ROOT = Path(__file__).parents[1]
STARTER = ROOT / "src" / "tribute" / "starter"

STOCK = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tribute":
            raise ImportError("no tribute here")
sys.meta_path.insert(0, Absent())
try:
    import tribute
    raise SystemExit("tribute could be imported")
except ImportError:
    pass
import numpy as np, torch
from diffusers import StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_pretrained(sys.argv[1], dtype=torch.float32)
def draw():
    return np.asarray(pipe("a blue heart", num_inference_steps=4, guidance_scale=4.0, generator=torch.Generator().manual_seed(1)).images[0]).astype(int)
plain = draw()
assert plain.shape == (128, 128, 3), plain.shape
pipe.load_lora_weights(sys.argv[1] + "/styles", weight_name=sys.argv[2] + ".safetensors", adapter_name="style")
styled = draw()
pipe.vae.load_lora_adapter(sys.argv[1] + "/styles", weight_name=sys.argv[2] + ".safetensors", prefix="vae", adapter_name="style")
finer = draw()
pipe.unload_lora_weights()
pipe.vae.delete_adapters("style")
assert np.abs(styled - plain).mean() > 1, "the style changes nothing"
assert np.abs(finer - styled).mean() > 0.5, "its part of the decoder changes nothing"
assert (draw() == plain).all(), "the style leaks"
"""


@pytest.fixture(scope="module")
def collection():
    return json.loads((STARTER / "collection.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def works():
    return [Work.model_validate_json(line) for line in gzip.decompress((STARTER / "works.jsonl.gz").read_bytes()).splitlines()]


@pytest.mark.slow
def test_stock_diffusers_draws_with_it_where_tribute_cannot_be_imported():
    done = subprocess.run([sys.executable, "-c", STOCK, str(STARTER), "micah"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_checkpoint_cites_a_snapshot_that_is_there(collection):
    snapshots = {document["hash"]: document for document in collection["snapshots"]}
    cited = json.loads((STARTER / "tribute.json").read_text())["snapshot"]
    assert snapshots[cited]["use"] == "train_base"
    for document in collection["styles"]:
        style = Style.model_validate(document)
        assert style.base_snapshot == cited
        assert snapshots[style.snapshot]["artists"] == [style.artist_id]
        assert sha256((STARTER / "styles" / f"{style.name}.safetensors").read_bytes()) == style.adapter_sha256


def test_snapshots_hold_exactly_what_consent_allowed(collection, works):
    by_hash = {work.hash: work for work in works}
    consents = {Consent.model_validate(document).hash: Consent.model_validate(document) for document in collection["consents"]}
    snapshots = snapshots_in(collection, [work.hash for work in works])
    assert len(snapshots) == len(collection["styles"]) + 1
    for snapshot in snapshots:
        allowed = {consents[digest].artist_id for digest in snapshot.consents if consents[digest].use == snapshot.use and consents[digest].allowed}
        used = [by_hash[digest] for digest in snapshot.works]
        assert {work.artist_id for work in used} == allowed == set(snapshot.artists)
        if snapshot.use == "train_base":
            assert {work.licence.spdx for work in used} <= set(COMMONS_LICENCES)
        else:
            assert {work.style for work in used} == {snapshot.style}


def test_at_least_eight_artists_have_a_style_and_every_work_its_credit(collection, works):
    artists = {Artist.model_validate(document).id for document in collection["artists"]}
    assert len({style["artist_id"] for style in collection["styles"]}) >= 8
    assert len({author for work in works for author in work.authors if work.style == "openmoji"}) > 50
    for work in works:
        assert work.artist_id in artists
        assert work.licence.credit_line
        assert work.licence.url.startswith("https://")
        assert work.captions_en[0]
        assert re.search(r"[\u4e00-\u9fff0-9A-Z]", work.captions_zh[0])


def test_it_stays_small_and_without_optimiser_states():
    files = [path for path in STARTER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 90_000_000
    assert not [path for path in files if path.suffix in (".bin", ".pt", ".pkl", ".ckpt")]


def test_the_model_card_says_what_is_in_it(collection, works):
    card = (STARTER / "README.md").read_text(encoding="utf-8")
    counts = {}
    for work in works:
        counts[work.style] = counts.get(work.style, 0) + 1
    for style, count in counts.items():
        assert f"| {style} | {count:,} |" in card, style
    assert json.loads((STARTER / "tribute.json").read_text())["snapshot"] in card


def test_the_model_card_quotes_the_evaluation_of_these_very_weights():
    from examples.model_card import figure_row, missed_row

    from tribute.diffusion.loading import weights_hash
    from tribute.studio.evaluation.figures import Figure

    report = json.loads((ROOT / "docs" / "evaluation" / "report.json").read_text(encoding="utf-8"))
    card = (STARTER / "README.md").read_text(encoding="utf-8")
    assert report["model_sha256"] == weights_hash(STARTER)
    assert len(report["figures"]) >= 15
    for document in report["figures"]:
        figure = Figure.of(document)
        assert figure_row(figure) in card
        if figure.met is False:
            assert missed_row(figure) in card
        else:
            assert f"\n- {figure.name}: " not in card
        assert figure.met == document["met"]
    page = (ROOT / "docs" / "evaluation" / "report.html").read_text(encoding="utf-8")
    for name in re.findall(r'<img src="([^"]+)"', page):
        assert (ROOT / "docs" / "evaluation" / name).is_file()
