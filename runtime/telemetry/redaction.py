"""Removes what may be secret from URLs in log lines: user names, passwords, paths and queries.

Callback URLs and links to media are often secrets: who knows them may call or read them. Exceptions of HTTP libraries
contain them.
"""

import re
from typing import Any

from structlog.typing import EventDict

REMOVED = "/…"
URL = re.compile(
    r"""
    ([a-zA-Z][a-zA-Z0-9+.\-]*://)                      # scheme
    (?:[^\s/?\#@]*@)?                                  # user name and password
    (\[[0-9a-fA-F:.%]*\](?::\d+)?|[^\s/?\#'"<>\\)\]},;]*)  # host and port
    ([/?\#](?:[^\s'"<>\\)\]}]                          # path, query and fragment, with quotes and brackets
      |['"<>\\)\]}]+(?=[^\s'"<>\\)\]},;:.]))*)?        # unless these end the URL
    """,
    re.VERBOSE,
)
# Paths that are logged apart from their host.
PARTS = re.compile(
    r"""
    (with\ url:\ |\b(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)\ (?=/)|target=b?['"])  # urllib3; httpcore's URLs
    [^\s"]+?(?=[\s"]|['"]\)|$)
    """,
    re.VERBOSE,
)
MAX_DEPTH = 6


def redact_urls(text: str) -> str:
    """Return a text whose URLs have only a scheme and a host."""
    if "://" in text:
        text = URL.sub(lambda found: found[1] + found[2] + (REMOVED if (found[3] or "/") != "/" else ""), text)
    if "/" in text:
        text = PARTS.sub(lambda found: found[1] + REMOVED, text)
    return text


def redact_event(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Redact the URLs in all fields of a log line; a processor of structlog."""
    return {key: _redacted(value, MAX_DEPTH) for key, value in event.items()}


def _redacted(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return redact_urls(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth and isinstance(value, dict):
        return {redact_urls(str(key)): _redacted(item, depth - 1) for key, item in value.items()}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_redacted(item, depth - 1) for item in value]
    return redact_urls(str(value) if isinstance(value, BaseException) else repr(value))
