"""Checks of this machine for `thinkqueue doctor`: disk, model, GPU, sandbox and ports."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx

from cli.local.findings import Finding, Level
from cli.local.installation import Installation
from cli.local.service import monitor_ports
from runtime.settings import Settings
from worker.prepare.sandbox import landlock
from worker.prepare.sandbox.client import Sandbox, SandboxFailed
from worker.prepare.sandbox.self_test import REMEDY, check_confinement

GIB = 2**30
SCRATCH_BYTES = 2 * GIB
"""Twice the largest video."""
DEFAULT_SCRATCH = "/tmp"  # noqa: S108 - Python's own first choice
STATE_BYTES = GIB
MODEL_BYTES = 22 * GIB
"""The download of GLM-4.1V-9B in bfloat16."""


def check_disk(settings: Settings, installation: Installation) -> Iterator[Finding]:
    # The folder that TMPDIR names. tempfile.gettempdir() silently uses another one when that is full.
    required = {Path(os.environ.get("TMPDIR") or DEFAULT_SCRATCH): SCRATCH_BYTES}
    if installation.folder.exists():
        required[installation.folder] = STATE_BYTES
    if _is_hub_id(settings.model) and not _is_cached(settings.model):
        required[_existing(_hub_cache())] = MODEL_BYTES
    for folder, needed in required.items():
        if not folder.is_dir():
            remedy = "Create it, or set another folder: TMPDIR, --state, HF_HOME."
            yield Finding("problem", f"{folder} does not exist", remedy)
            continue
        free = shutil.disk_usage(folder).free
        if free < needed:
            message = f"{folder} has {free / GIB:.1f} GiB free; {needed / GIB:.0f} GiB are needed"
            yield Finding("problem", message, "Free some space, or use another folder: TMPDIR, --state, HF_HOME.")
        elif not os.access(folder, os.W_OK):
            yield Finding("problem", f"{folder} is not writable", f"Make it writable for user {os.getuid()}.")
        else:
            yield Finding("ok", f"{folder} has {free / GIB:,.0f} GiB free")


def check_model(settings: Settings, _: Installation) -> Iterator[Finding]:
    model = settings.model
    if model == "pocket":
        yield Finding("ok", "the pocket model, which is part of the package")
    elif _is_hub_id(model):
        if _is_cached(model):
            yield Finding("ok", f"{model} is in {_hub_cache()}")
        else:
            remedy = "The generate worker downloads it when it starts, about 20 GB."
            yield Finding("note", f"{model} is not downloaded yet", remedy)
    else:
        yield _check_model_folder(settings)


def _check_model_folder(settings: Settings) -> Finding:
    folder = Path(settings.model)
    remedy = "Set MODEL to pocket, a hub id, or a folder that holds a model in the hub's format."
    if not folder.is_dir():
        return Finding("problem", f"MODEL={settings.model}: there is no such folder", remedy)
    if find_spec("safetensors") is None:
        return Finding("note", f"the model {settings.model} is not checked: safetensors is not installed", remedy)
    from engine.loading.model_folder import find_problems

    if problems := find_problems(folder, model_type=settings.family.model_type):
        return Finding("problem", f"MODEL={settings.model} cannot be used: {'; '.join(problems)}", remedy)
    return Finding("ok", f"the model {settings.model}, family {settings.family_name}")


def check_gpu(settings: Settings, _: Installation) -> Iterator[Finding]:
    try:
        query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
        gpus = done.stdout.strip().splitlines() if done.returncode == 0 else []
    except (OSError, subprocess.TimeoutExpired):
        gpus = []
    for gpu in gpus:
        yield Finding("ok", f"GPU {gpu}")
    if not gpus and settings.model_device == "cuda":
        remedy = "Install the driver, and give the process access to the GPU."
        yield Finding("problem", "MODEL_DEVICE=cuda, but nvidia-smi shows no GPU", remedy)
    elif not gpus:
        level: Level = "ok" if settings.model == "pocket" else "note"
        yield Finding(level, "no GPU: a generate worker here runs on the CPU")
    if find_spec("torch") is None:
        remedy = "Install torch and thinkqueue[engine]."
        yield Finding("note", "torch is not installed: no generate worker can run here", remedy)


def check_prepare_tools(settings: Settings, _: Installation) -> Iterator[Finding]:
    if settings.sandbox == "off":
        remedy = "Only time and memory of decoders are limited; see docs/security.md."
        yield Finding("note", "SANDBOX=off: clients' files are opened without a sandbox", remedy)
    else:
        yield _check_sandbox()
    if shutil.which("soffice") is None:
        yield Finding("note", "no LibreOffice: slides are refused", "apt install libreoffice-impress-nogui")
    else:
        yield Finding("ok", "LibreOffice, for slides")
    yield _check_fonts()


def _check_sandbox() -> Finding:
    sandbox = Sandbox()
    try:
        check_confinement(sandbox)
    except SandboxFailed as error:
        return Finding("problem", str(error).removesuffix(f" {REMEDY}"), REMEDY)
    finally:
        sandbox.close()
    return Finding("ok", f"the sandbox for clients' files (Landlock ABI {landlock.abi_version()}, seccomp)")


def _check_fonts() -> Finding:
    """Look for the fonts that PDFs and slides use without containing them."""
    try:
        missing = [name for name, language in (("Latin", "en"), ("Chinese", "zh-cn")) if not _has_font(language)]
    except (OSError, subprocess.TimeoutExpired):
        return Finding("note", "fonts are not checked: there is no fc-list", "apt install fontconfig")
    if missing:
        message = f"no {' and no '.join(missing)} font: such text is missing in files that do not contain their fonts"
        return Finding("note", message, "apt install fonts-dejavu fonts-noto-cjk")
    return Finding("ok", "fonts for Latin and Chinese text")


def _has_font(language: str) -> bool:
    query = ["fc-list", f":lang={language}", "file"]
    return bool(subprocess.run(query, capture_output=True, timeout=20, check=False).stdout.strip())


def check_egress(settings: Settings, _: Installation) -> Iterator[Finding]:
    """Warn where clients' URLs can reach servers that are not public."""
    if settings.auth == "none":
        return
    loopback = [str(network) for network in settings.egress_allow if network.is_loopback]
    private = [str(network) for network in settings.egress_networks if not network.is_loopback]
    if loopback and settings.egress_loopback_with_keys:
        remedy = "Unset EGRESS_LOOPBACK_WITH_KEYS, except for tests."
        yield Finding("note", "every tenant can reach the servers on this machine, such as Redis", remedy)
    elif loopback:
        message = f"EGRESS_ALLOW: {', '.join(loopback)} is ignored, because tenants with API keys choose the URLs"
        yield Finding("note", message, "Remove it; see docs/security.md.")
    if private:
        message = f"EGRESS_ALLOW: every tenant can reach the servers in {', '.join(private)}"
        yield Finding("note", message, "Leave it empty if you do not trust all tenants.")


def check_ports(settings: Settings, installation: Installation) -> Iterator[Finding]:
    if running := installation.running():
        yield Finding("ok", f"running: {running.url} (pid {running.pid})")
        return
    for name, port in {"API_PORT": settings.api_port, **monitor_ports(settings.monitor_port)}.items():
        if not _is_taken(port):
            yield Finding("ok", f"port {port} is free ({name})")
        elif _is_thinkqueue(port):
            yield Finding("ok", f"port {port}: a thinkqueue process answers")
        else:
            remedy = f"Stop what uses it, or set another {name}."
            yield Finding("problem", f"port {port} is taken by another program", remedy)


def _is_thinkqueue(port: int) -> bool:
    """Ask the port's ``/livez``: the api answers in JSON, the other processes with one word on their MONITOR_PORT."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/livez", timeout=3).text.strip() in ('{"status":"live"}', "ok", "no")
    except httpx.HTTPError:
        return False


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_hub_id(model: str) -> bool:
    return model != "pocket" and not Path(model).exists() and model.count("/") == 1 and not model.startswith((".", "/"))


def _hub_cache() -> Path:
    home = os.environ.get("HF_HOME") or str(Path.home() / ".cache" / "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub")


def _is_cached(model: str) -> bool:
    return any(_hub_cache().glob(f"models--{model.replace('/', '--')}/snapshots/*/*.safetensors"))


def _existing(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())
