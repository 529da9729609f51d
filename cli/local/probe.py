"""A container's health check: ``python -m cli.local.probe``. Imports the standard library only, to start quickly."""

import os
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 4


def main() -> int:
    """Return 0 if the process on this machine's monitor port is ready."""
    url = f"http://127.0.0.1:{os.environ.get('MONITOR_PORT', '9100')}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as reply:
            return 0 if reply.status == 200 else 1
    except (urllib.error.URLError, OSError) as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
