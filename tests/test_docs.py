"""What the pages show is true: the worked receipt holds, and every amount on its page is a posting's."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tribute.ledger import verifier
from tribute.records.money import format_micro

DOCS = Path(__file__).parents[1] / "docs"
MONEY = DOCS / "money"


def test_the_receipt_that_is_shown_holds():
    data = (MONEY / "receipt.json").read_bytes()
    receipt, root = verifier.read(data), json.loads((MONEY / "root.json").read_text())
    assert verifier.check(receipt, root, (MONEY / "picture.png").read_bytes()) + verifier.check_layout(data, receipt) == []


def test_the_page_for_artists_says_what_was_posted():
    sections = json.loads((MONEY / "receipt.json").read_text())["sections"]
    page = (MONEY / "README.md").read_text(encoding="utf-8")
    english, chinese = page.split("# 钱是怎么算的")
    for line in sections["transaction"]["postings"]:
        if not line["account"].startswith("creator:"):
            amount = format_micro(line["amount_micro"], line["currency"])
            assert f"| {amount} |" in english
            assert f"| {amount} |" in chinese
    for share in sections["credits"]["shares"]:
        assert f"{share['share_ppm'] / 10_000:.4f}%" in english
    assert json.loads((MONEY / "root.json").read_text())["root"] in page
    for lang in ("en", "zh"):
        assert sections["picture"]["id"] in (MONEY / f"statement.{lang}.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: str(path.relative_to(DOCS)))
def test_pages_are_filled_in_and_their_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"\{[A-Z_]+\}", text) == []
    links = re.findall(r"\]\(([^)#:\s]+)\)", text)
    assert [link for link in links if not (path.parent / link).exists()] == []


BENCHES = [path for path in sorted((DOCS.parent / "bench").glob("*.py")) if "argparse" in path.read_text(encoding="utf-8")]


@pytest.mark.slow
@pytest.mark.parametrize("path", BENCHES, ids=lambda path: path.stem)
def test_a_bench_starts_as_it_says_it_does(path):
    said = next(line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("python "))
    words = [*said.split()[1 : 3 if " -m " in said else 2], "--help"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=DOCS.parent)
    assert done.returncode == 0, done.stderr[-500:]
