"""The ``thinkqueue`` command. Its client needs httpx, typer and rich only; other commands import what they run."""
