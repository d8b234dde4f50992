"""`tribute`: the command line. Commands import what they need when they run, so that help is quick."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

import typer

from tribute.studio.cli import artists, audit, collection, credit, evaluate, make, money, payouts, serve, statements, train

app = typer.Typer(
    name="tribute",
    help="An AI-art studio that knows whom every picture owes, and pays them.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    make.create,
    make.upscale,
    make.svg,
    make.verify,
    credit.credit,
    credit.credit_pending,
    money.download,
    money.topup,
    money.refund,
    statements.settle,
    statements.statement,
    money.balance,
    train.train,
    evaluate.evaluate,
    serve.studio,
    serve.worker,
):
    app.command()(command)
app.add_typer(collection.app, name="collection")
app.add_typer(artists.app, name="artist")
app.add_typer(artists.styles_app, name="style")
app.add_typer(audit.receipt_app, name="receipt")
app.add_typer(audit.app, name="ledger")
app.add_typer(payouts.app, name="payout")
app.add_typer(serve.people_app, name="people")


# Libraries speak of what no user can act on.
QUIET = {"TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def _one_line(error: BaseException) -> str | None:
    """What to tell the user, or None where it is our own bug."""
    from pydantic import ValidationError

    from tribute.records import TributeError

    if isinstance(error, TributeError):
        return str(error)
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}, got {str(first['input'])[:80]!r}"
    if isinstance(error, OSError):
        if error.errno == errno.ENOSPC:
            return f"the disk is full: {error.filename or 'a file'} was not written; free some space and say it again"
        return f"{error.filename or 'a file'}: {error.strerror or error}"
    return None


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command. Exit code 0, 2 for what the user can mend (one line says what), 130 when interrupted."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        code = app(args=arguments, standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("tribute: interrupted\n")
        sys.exit(130)
    except typer.Exit as error:
        sys.exit(error.exit_code)
    except Exception as error:
        if type(error).__module__.split(".")[0] in ("click", "typer") and hasattr(error, "format_message"):
            line: str | None = error.format_message()
        else:
            line = _one_line(error)
        if line is None:
            raise
        sys.stderr.write("tribute: " + " ".join(line.split()) + "\n")
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
