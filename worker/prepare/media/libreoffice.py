"""Converts slides to PDF with LibreOffice. Runs in the sandbox, which also ends everything that LibreOffice starts."""

import os
import shutil
import subprocess
from pathlib import Path

from worker.prepare.media.errors import MediaError
from worker.prepare.sandbox import landlock

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
UNAVAILABLE = "this service cannot convert slides; send a PDF. (Operators: {}.)"


def find_libreoffice() -> str | None:
    """Return the path of LibreOffice's program; None: it is not installed."""
    return shutil.which("soffice") or shutil.which("libreoffice")


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
    if not landlock.abi_version():
        message = UNAVAILABLE.format("a kernel with Landlock is needed to confine LibreOffice")
        raise MediaError("office_unavailable", message)
    profile = folder / "profile"
    (profile / "user").mkdir(parents=True)
    settings = "".join(SETTING.format(*setting) for setting in SETTINGS)
    (profile / "user" / "registrymodifications.xcu").write_text(PROFILE.format(settings), "utf-8")
    source = folder / f"deck.{kind}"
    source.symlink_to(deck)
    subprocess.run(
        [
            program,
            f"-env:UserInstallation={profile.as_uri()}",
            "--headless",
            "--norestore",
            "--nolockcheck",
            "--convert-to",
            "pdf:impress_pdf_Export",
            "--outdir",
            str(folder),
            str(source),
        ],
        # Not the worker's environment: it contains the object store's keys.
        env={"HOME": str(folder), "TMPDIR": str(folder), "PATH": os.defpath, "LANG": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,  # LibreOffice exits with 0 even when it failed; only the PDF shows success
    )
    pdf = folder / "deck.pdf"
    if not pdf.is_file() or not pdf.stat().st_size:
        raise MediaError(
            "document_unreadable", "LibreOffice cannot read the presentation, or all slides are hidden; send it as PDF."
        )
    return pdf
