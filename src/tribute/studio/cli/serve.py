"""studio: the web page."""

from __future__ import annotations

from typing import Annotated

import typer


def studio(
    port: Annotated[int, typer.Option(help="1 to 65535.")] = 7860,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = False,
) -> None:
    """Serve the studio's page on 127.0.0.1."""
    import threading
    import webbrowser

    import uvicorn

    from tribute.records import InvalidInput
    from tribute.studio.web import build_app
    from tribute.studio.wiring import open_workshop

    if not 1 <= port <= 65535:
        raise InvalidInput(f"port {port} is out of range; give 1 to 65535")
    workshop = open_workshop()
    page = f"http://127.0.0.1:{port}/"
    typer.echo(page)
    if open_browser:
        threading.Timer(1.5, webbrowser.open, [page]).start()
    uvicorn.run(build_app(workshop), host="127.0.0.1", port=port, log_level="warning", server_header=False)
