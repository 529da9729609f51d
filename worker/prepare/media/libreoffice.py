"""Slides to PDF, by LibreOffice without a screen. Runs in the sandbox, which ends it and all that it starts."""

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
    # A deck may link pictures. LibreOffice 7.4 fetched http:// ones from our network; with this it does not. It still
    # draws file:// ones of an ODP, which is why it runs behind Landlock only.
    (SCRIPTING, "BlockUntrustedRefererLinks", "true"),
    (SCRIPTING, "DisableMacrosExecution", "true"),
    (SCRIPTING, "MacroSecurityLevel", "3"),
    # A second wall: a proxy that is not there.
    (PROXY, "ooInetProxyType", "2"),
    (PROXY, "ooInetHTTPProxyName", "127.0.0.1"),
    (PROXY, "ooInetHTTPProxyPort", "9"),
    (PROXY, "ooInetHTTPSProxyName", "127.0.0.1"),
    (PROXY, "ooInetHTTPSProxyPort", "9"),
)
NOT_HERE = "this service cannot convert slides; send a PDF. (Operators: {}.)"


def find_libreoffice() -> str | None:
    """LibreOffice's program; None: it is not installed."""
    return shutil.which("soffice") or shutil.which("libreoffice")


def slides_to_pdf(deck: Path, kind: str, folder: Path) -> Path:
    """Convert a presentation; hidden slides and notes are left out.

    Args:
        folder: a scratch folder of its own; LibreOffice cannot run twice on one profile.

    Raises:
        MediaError
    """
    program = find_libreoffice()
    if program is None:
        raise MediaError("office_unavailable", NOT_HERE.format("apt install libreoffice-impress-nogui"))
    if not landlock.abi_version():
        raise MediaError(
            "office_unavailable", NOT_HERE.format("a kernel with Landlock is needed to confine LibreOffice")
        )
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
        # Nothing of ours: the environment holds the object store's keys.
        env={"HOME": str(folder), "TMPDIR": str(folder), "PATH": os.defpath, "LANG": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,  # it says 0 when it failed; only the PDF proves anything
    )
    pdf = folder / "deck.pdf"
    if not pdf.is_file() or not pdf.stat().st_size:
        raise MediaError("document_unreadable", "LibreOffice cannot read the presentation; send it as PDF.")
    return pdf
