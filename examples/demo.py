"""The whole loop once, on a fresh data folder: a picture in two artists' styles, paid for, settled. `make demo` runs this."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def tribute(*arguments: str) -> str:
    """Runs the command line as a person would, showing what it prints."""
    print(f"\n$ tribute {' '.join(arguments)}", flush=True)
    done = subprocess.run([str(Path(sys.executable).with_name("tribute")), *arguments], stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout, end="", flush=True)
    return done.stdout


def main() -> None:
    began = time.monotonic()
    home = Path(tempfile.mkdtemp(prefix="tribute-demo-"))
    os.environ["TRIBUTE_HOME"] = str(home / "data")
    from tribute.ledger.settlement import week_of
    from tribute.records import utc_now

    out = home / "pictures"
    tribute("create", "an umbrella", "--style", "openmoji:0.7", "--style", "twemoji:0.5", "--seed", "7", "-o", str(out))
    path = next(out.glob("*.png"))
    tribute("verify", str(path))
    tribute("topup", "mei", "20.00")
    tribute("download", str(path), "--as", "mei", "-o", str(home / "kept"))
    receipt = next((home / "kept").glob("*.receipt.json"))
    tribute("receipt", "verify", str(receipt), "--picture", str(home / "kept" / path.name))
    week = week_of(utc_now())
    tribute("settle", "--week", week, "-o", str(home / "statements"))
    tribute("ledger", "root", week, "-o", str(home / "root.json"))
    tribute("receipt", "get", path.name.removeprefix("tribute-").removesuffix(".png"), "--as", "mei", "-o", str(home / "kept"))
    tribute("receipt", "verify", str(receipt), "--root", str(home / "root.json"))
    tribute("balance")
    tribute("ledger", "check")
    shares = json.loads(receipt.read_text())["sections"]["credits"]["shares"]
    made_by = ", ".join(f"{share['party']} {share['share_ppm'] / 10_000:.1f}%" for share in shares)
    print(f"\npicture  {path}\nmade by  {made_by}\nreceipt  {receipt}\nall of it in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
