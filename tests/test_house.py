"""Rules of the house that no linter knows: sizes, rooms, words, and what help may import."""

import ast
import io
import re
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "tribute"
FILES = sorted([*SOURCE.rglob("*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("bench/*.py"), *ROOT.glob("examples/*.py")])
LAYERS = ("studio", "commission", "create", "credit", "ledger", "provenance", "diffusion", "collection", "store", "records")
PEERS = ("create", "credit", "ledger", "provenance")


def code_lines(text):
    """Line numbers that hold code: not blank, not comment, not docstring."""
    lines = set()
    skip = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    previous = tokenize.NEWLINE
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        docstring = token.type == tokenize.STRING and previous in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.NL)
        if token.type not in skip and not docstring:
            lines.update(range(token.start[0], token.end[0] + 1))
        if token.type not in (tokenize.COMMENT, tokenize.NL):
            previous = token.type
    return lines


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path):
    text = path.read_text(encoding="utf-8")
    lines = code_lines(text)
    assert len(lines) <= 400, f"{len(lines)} lines of code"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name != "build_app":
            length = len(lines & set(range(node.lineno, (node.end_lineno or 0) + 1)))
            assert length <= 60, f"{node.name} has {length} lines of code"


def test_every_public_module_says_what_it_is_for():
    silent = [str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def lint_imports(folder):
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo", "--config", str(folder / "pyproject.toml")]
    return subprocess.run(command, cwd=folder / "src", capture_output=True, text=True, env={"PYTHONPATH": str(folder / "src"), "PATH": "/usr/bin:/bin"})


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    shutil.copytree(SOURCE, folder / "src" / "tribute", ignore=shutil.ignore_patterns("starter", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def forbidden():
    for at, upper in enumerate(LAYERS):
        for lower in LAYERS[at + 1 :]:
            if not (upper in PEERS and lower in PEERS):
                yield lower, f"import tribute.{upper}"
    for one in PEERS:
        for other in PEERS:
            if one != other:
                yield one, f"import tribute.{other}"
    for room in ("records", "store", "collection", "ledger"):
        yield room, "import torch"


@pytest.mark.slow
def test_each_forbidden_import_is_caught(planted):
    clean = lint_imports(planted)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    missed = []
    for room, line in forbidden():
        path = planted / "src" / "tribute" / room / "__init__.py"
        path = path if path.exists() else path.parent.with_suffix(".py")
        before = path.read_text()
        path.write_text(before + f"\n\ndef planted() -> None:\n    {line}\n")
        if "BROKEN" not in lint_imports(planted).stdout:
            missed.append((room, line))
        path.write_text(before)
    assert missed == []


@pytest.mark.slow
def test_a_new_room_must_be_declared(planted):
    extra = planted / "src" / "tribute" / "attic.py"
    extra.write_text('"""A room that nobody declared."""\n')
    assert "attic" in lint_imports(planted).stdout
    extra.unlink()


def test_every_word_on_a_screen_has_its_chinese():
    from tribute.studio.words import ZH, language, say

    used = set()
    for path in [*(SOURCE / "studio").rglob("*.py"), *(SOURCE / "studio" / "templates").glob("*.html")]:
        used |= set(re.findall(r"""\bsay\(\s*["']([^"']+)["']""", path.read_text()))
        for columns in re.findall(r"table\(\(([^()]*)\)", path.read_text()):
            used |= set(re.findall(r'"([a-z][a-z ]+)"', columns))
    assert used - set(ZH) == set()
    assert say("picture", "zh") == "图片"
    assert say("picture", "en") == "picture"
    assert language() == "en"


def test_help_imports_nothing_heavy():
    script = (
        "import sys; sys.argv = ['tribute', '--help']\n"
        "from tribute.studio.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: code = end.code\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'sqlalchemy', 'fastapi', 'c2pa', 'PIL', 'numpy'} & set(sys.modules)\n"
        "assert code in (0, None), code\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in ("create", "verify", "credit", "download", "topup", "settle", "statement", "studio", "collection", "artist"):
        assert command in done.stdout


def test_no_path_of_a_machine_and_no_registry_in_the_project():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    words = re.compile("/" + "root/|/" + "work/main|registry.npm" + "js|pypi" + r"\.org|files\.python" + "hosted")
    found = [name for name in tracked if Path(name).suffix in (".py", ".md", ".toml", ".json", ".txt", ".html", ".mjs", ".yaml") and (ROOT / name).is_file()
             and words.search((ROOT / name).read_text(encoding="utf-8"))]  # fmt: skip
    assert found == []
