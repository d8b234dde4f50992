"""The README's commands, run as they stand, on a fresh data folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_readmes_commands_work(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- run.*?```console\n(.*?)```", text, re.DOTALL)[1]
    commands = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    assert len(commands) >= 10
    here = Path(sys.executable).parent
    env = {**os.environ, "TRIBUTE_HOME": str(tmp_path / "home"), "PATH": f"{here}:{os.environ['PATH']}", "TRIBUTE_LANG": "en"}
    env.pop("TRIBUTE_ENGINE", None)  # as a newcomer has it
    for command in commands:
        line = re.sub(r"(\S+)/tribute-\*\.png", lambda found: f"$(ls -tr {found[1]}/tribute-*.png | head -1)", command)
        done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"


def test_the_readme_names_files_that_are_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [link for link in re.findall(r"\]\(([^)#:]+)\)", text) if not (ROOT / link).exists()]
    assert missing == []


def test_make_targets_are_there():
    makefile = (ROOT / "Makefile").read_text()
    for target in ("studio", "demo", "test", "check"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert "make test" in (ROOT / ".ci" / "run").read_text()
