"""Converts slides to PDF with LibreOffice. Runs in the sandbox, which also ends everything that LibreOffice starts."""

import os
import shutil
import subprocess
from pathlib import Path

from worker.prepare.media.errors import MediaError

PROFILE = """\
<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry" xmlns:xs="http://www.w3.org/2001/XMLSchema">
{}</oor:items>
"""
SETTING = '<item oor:path="{}"><prop oor:name="{}" oor:op="fuse"><value>{}</value></prop></item>\n'
SCRIPTING = "/org.openoffice.Office.Common/Security/Scripting"
PROXY = "/org.openoffice.Inet/Settings"
SETTINGS = (
    # A deck may link to images. Without this setting LibreOffice 7.4 fetched http:// links from our network. With it,
    # LibreOffice still renders file:// links of an ODP, which is why it runs only under Landlock.
    (SCRIPTING, "BlockUntrustedRefererLinks", "true"),
    (SCRIPTING, "DisableMacrosExecution", "true"),
    (SCRIPTING, "MacroSecurityLevel", "3"),
    # Second line of defense: a proxy that does not exist.
    (PROXY, "ooInetProxyType", "2"),
    (PROXY, "ooInetHTTPProxyName", "127.0.0.1"),
    (PROXY, "ooInetHTTPProxyPort", "9"),
    (PROXY, "ooInetHTTPSProxyName", "127.0.0.1"),
    (PROXY, "ooInetHTTPSProxyPort", "9"),
)
RESTART_STATUSES = (79, 81)
"""LibreOffice asks its launcher to start it again, as it does after it has created a profile."""
MAX_STARTS = 3
UNAVAILABLE = "this service cannot convert slides; send a PDF. (Operators: {}.)"


def find_libreoffice() -> Path | None:
    """Return the path of LibreOffice's program; None: it is not installed.

    It is the program itself, not the script and the launcher that usually start it: the launcher requires a writable
    /tmp for a socket.
    """
    script = shutil.which("soffice") or shutil.which("libreoffice")
    program = Path(script).resolve().with_name("soffice.bin") if script else None
    return program if program and program.is_file() else None


def convert_slides_to_pdf(deck: Path, kind: str, folder: Path) -> Path:
    """Convert a presentation to PDF, without hidden slides and notes.

    Args:
        deck: the presentation.
        kind: its file name extension; LibreOffice chooses the importer by it.
        folder: an empty folder for the profile and the output: two LibreOffice processes cannot share a profile.

    Raises:
        MediaError
    """
    program = find_libreoffice()
    if program is None:
        raise MediaError("office_unavailable", UNAVAILABLE.format("apt install libreoffice-impress-nogui"))
    profile = folder / "profile"
    (profile / "user").mkdir(parents=True)
    settings = "".join(SETTING.format(*setting) for setting in SETTINGS)
    (profile / "user" / "registrymodifications.xcu").write_text(PROFILE.format(settings), "utf-8")
    source = folder / f"deck.{kind}"
    source.symlink_to(deck)
    command = [
        str(program),
        f"-env:UserInstallation={profile.as_uri()}",
        "--headless",
        "--norestore",
        "--nolockcheck",
        "--convert-to",
        "pdf:impress_pdf_Export",
        "--outdir",
        str(folder),
        str(source),
    ]
    environment = {
        "HOME": str(folder),
        "TMPDIR": str(folder),
        # Of its socket: the kernel limits the length of the path, so it is relative to the working directory.
        "OSL_SOCKET_PATH": ".",
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
    }
    for _ in range(MAX_STARTS):
        # LibreOffice exits with 0 even when it failed; only the PDF shows success.
        done = subprocess.run(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode not in RESTART_STATUSES:
            break
    pdf = folder / "deck.pdf"
    if not pdf.is_file() or not pdf.stat().st_size:
        raise MediaError(
            "document_unreadable", "LibreOffice cannot read the presentation, or all slides are hidden; send it as PDF."
        )
    return pdf
