"""``thinkqueue doctor``: what is wrong with an installation, and what to do about it."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import httpx
import redis
import typer
from rich.console import Console

from cli.commands.up import OURS, installed_settings
from cli.errors import CommandError
from cli.local.installation import Installation
from cli.local.state import DEFAULT_STATE, State
from jobs.errors import ThinkqueueError
from jobs.model.job import Stage
from jobs.objects.store import ObjectStore
from jobs.table.scripts import connect
from jobs.table.stats import StatsReader
from runtime.settings import Settings
from worker.prepare.sandbox import landlock

app = typer.Typer()
console = Console(soft_wrap=True, highlight=False)

GIB = 2**30
SCRATCH_BYTES = 2 * GIB
"""The largest video, twice."""
DEFAULT_SCRATCH = "/tmp"  # noqa: S108 - Python's own first choice
STATE_BYTES = GIB
MODEL_BYTES = 22 * GIB
"""GLM-4.1V-9B in bfloat16, as it is downloaded."""
CLOCK_LIMIT_S = 5.0
Level = Literal["ok", "note", "bad"]
SIGNS = {"ok": "[green]✓[/]", "note": "[yellow]![/]", "bad": "[red]✗[/]"}

STORE_ADVICE = {
    "SignatureDoesNotMatch": "S3_SECRET_KEY is not the one that belongs to S3_ACCESS_KEY.",
    "InvalidAccessKeyId": "The store does not know S3_ACCESS_KEY.",
    "AccessDenied": "The key may not use this bucket: grant it read, write, list and lifecycle on S3_BUCKET.",
    "RequestTimeTooSkewed": "This machine's clock is wrong; start NTP.",
    "NoSuchBucket": "Run `thinkqueue init`, which makes it.",
}


@dataclass(frozen=True)
class Finding:
    level: Level
    what: str
    advice: str = ""


@app.command()
def doctor(state: State = DEFAULT_STATE) -> None:
    """Look at settings, servers, clock, disk, model, GPU and ports; say what is wrong and what to do."""
    bad = 0
    for finding in examine(Installation(state.resolve())):
        console.print(f"{SIGNS[finding.level]} ", end="")
        console.print(finding.what, markup=False)
        if finding.advice:
            console.print(f"    → {finding.advice}", markup=False)
        bad += finding.level == "bad"
    if bad:
        console.print(f"[red]{bad} to be mended[/]")
        raise typer.Exit(1)
    console.print("[green]nothing is wrong[/]")


def examine(installation: Installation) -> Iterator[Finding]:
    """Every check that can be made; one that fails does not keep the others from being made."""
    running = installation.running()
    try:
        settings = installed_settings(installation.folder)
    except CommandError as error:
        yield Finding("bad", str(error), "docs/configuration.md tells each setting.")
        return
    yield Finding("ok", f"settings: model {settings.model}, AUTH={settings.auth}")
    embedded = {name for name in ("REDIS_URL", "S3_ENDPOINT") if name not in os.environ}
    if embedded and running is None and (installation.folder / "env").exists():
        yield Finding("note", f"{installation.folder} is not running", "`thinkqueue up` starts it, its servers too.")
    for check in (_redis, _store, _disk, _model, _gpu, _cpu_worker, _ports, _workers):
        yield from check(settings, installation)


def _redis(settings: Settings, _: Installation) -> Iterator[Finding]:
    url = settings.redis_url.get_secret_value()
    where = url.rpartition("@")[2]
    client = connect(settings)
    try:
        info = client.info()
        seconds, micros = client.time()
        epoch = client.get("epoch")
    except redis.AuthenticationError:
        yield Finding("bad", f"Redis at {where} refuses the password", "Correct it in REDIS_URL.")
        return
    except (redis.RedisError, ValueError) as error:
        way_out = "Start it, or correct REDIS_URL; from a container, localhost is the container."
        yield Finding("bad", f"Redis at {where} does not answer ({error})", way_out)
        return
    version = str(info.get("valkey_version") or info["redis_version"])
    if int(str(info["redis_version"]).partition(".")[0]) < 7:
        yield Finding("bad", f"Redis {version} is too old", "7.0 or newer is needed, or any Valkey.")
    else:
        yield Finding("ok", f"Redis {version} at {where}")
    if (policy := info.get("maxmemory_policy", "noeviction")) != "noeviction":
        yield Finding("bad", f"Redis may throw jobs away: maxmemory-policy is {policy}", "Set it to noeviction.")
    if not info.get("aof_enabled"):
        yield Finding("bad", "Redis writes no log: a restart would lose jobs", "Set appendonly yes.")
    used, limit = int(info["used_memory"]), int(info["maxmemory"])
    if limit and used > 0.8 * limit:
        yield Finding("bad", f"Redis uses {used / limit:.0%} of its memory: intake is shut", "Raise maxmemory.")
    elif not limit:
        yield Finding("note", "Redis has no maxmemory", "Set one below the machine's, or the kernel kills it first.")
    if abs(skew := seconds + micros / 1e6 - time.time()) > CLOCK_LIMIT_S:
        yield Finding("bad", f"Redis' clock is {skew:+.0f} s off this machine's", "Start NTP on both.")
    if epoch is None:
        yield Finding("bad", "the job table has no epoch", "Run `thinkqueue init`; if jobs were lost, `recover`.")


def _store(settings: Settings, _: Installation) -> Iterator[Finding]:
    object_store = ObjectStore(settings, timeout_s=5, tries=1)
    where = f"{settings.s3_endpoint}/{settings.s3_bucket}"
    try:
        object_store.is_empty("requests/")  # not a HEAD, which has no body to say why it is refused
        object_store.probe_conditional_put()
    except ThinkqueueError as error:
        advice = next((text for code, text in STORE_ADVICE.items() if code in error.message), "")
        advice = advice or "Start it, or correct S3_ENDPOINT; from a container, localhost is the container."
        yield Finding("bad", f"the object store {where}: {error.message}", advice)
        return
    yield Finding("ok", f"the object store {where}; results are final there")
    public = settings.s3_public_endpoint
    if public and not _answers(public):
        way_out = "Clients fetch links from it; look whether they reach it."
        yield Finding("note", f"S3_PUBLIC_ENDPOINT {public} does not answer here", way_out)


def _disk(settings: Settings, installation: Installation) -> Iterator[Finding]:
    # What was asked for, not tempfile.gettempdir(): that one silently goes elsewhere when the folder is full.
    needed = {Path(os.environ.get("TMPDIR") or DEFAULT_SCRATCH): SCRATCH_BYTES}
    if installation.folder.exists():
        needed[installation.folder] = STATE_BYTES
    if _is_hub_id(settings.model) and not _cached(settings.model):
        needed[_existing(_hub_cache())] = MODEL_BYTES
    for folder, wanted in needed.items():
        if not folder.is_dir():
            yield Finding("bad", f"{folder} is not there", "Make it, or name another: TMPDIR, --state, HF_HOME.")
            continue
        free = shutil.disk_usage(folder).free
        if free < wanted:
            what = f"{folder} has {free / GIB:.1f} GiB free, {wanted / GIB:.0f} are wanted"
            yield Finding("bad", what, "Make room, or move it: TMPDIR, --state, HF_HOME.")
        elif not os.access(folder, os.W_OK):
            yield Finding("bad", f"{folder} cannot be written", f"Give it to the user {os.getuid()}.")
        else:
            yield Finding("ok", f"{folder} has {free / GIB:,.0f} GiB free")


def _model(settings: Settings, _: Installation) -> Iterator[Finding]:
    model = settings.model
    if model == "pocket":
        yield Finding("ok", "the pocket model, which comes with the source")
    elif _is_hub_id(model):
        if _cached(model):
            yield Finding("ok", f"{model} is in {_hub_cache()}")
        else:
            yield Finding(
                "note", f"{model} is not here yet", "The generate worker downloads it at its start, about 20 GB."
            )
    else:
        missing = [name for name in ("config.json", "tokenizer_config.json") if not (Path(model) / name).is_file()]
        if not list(Path(model).glob("*.safetensors")):
            missing.append("*.safetensors")
        if missing:
            way_out = "MODEL is pocket, a hub id, or a folder that holds a model as the hub has it."
            yield Finding("bad", f"MODEL={model} has no {', '.join(missing)}", way_out)
        else:
            yield Finding("ok", f"the model {model}, family {settings.family_name}")


def _gpu(settings: Settings, _: Installation) -> Iterator[Finding]:
    try:
        query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
        found = done.stdout.strip().splitlines() if done.returncode == 0 else []
    except (OSError, subprocess.TimeoutExpired):
        found = []
    for card in found:
        yield Finding("ok", f"GPU {card}")
    if not found and settings.model_device == "cuda":
        yield Finding("bad", "MODEL_DEVICE=cuda, and nvidia-smi shows no GPU", "Install the driver; give it the GPU.")
    elif not found:
        level: Level = "ok" if settings.model == "pocket" else "note"
        yield Finding(level, "no GPU here: a generate worker would run on the CPU")
    if find_spec("torch") is None:
        yield Finding("note", "torch is not installed: no generate worker can run here")


def _cpu_worker(_settings: Settings, _: Installation) -> Iterator[Finding]:
    if landlock.abi_version() < 1:
        way_out = "Linux 5.13 or newer has it; without it only process limits stand before strangers' files."
        yield Finding("note", "no Landlock in this kernel", way_out)
    if shutil.which("soffice") is None:
        yield Finding("note", "no LibreOffice: slides are refused", "apt install libreoffice-impress-nogui")
    else:
        yield Finding("ok", "LibreOffice, for slides")


def _ports(settings: Settings, installation: Installation) -> Iterator[Finding]:
    if installation.running():
        yield Finding("ok", f"running: {settings.api_host}:{settings.api_port}")
        return
    wanted = {settings.api_port: "API_PORT"}
    if settings.monitor_port:
        wanted |= {settings.monitor_port + step: f"MONITOR_PORT ({name})" for step, name in enumerate(OURS)}
    for port, name in wanted.items():
        if not _is_taken(port):
            yield Finding("ok", f"port {port} is free ({name})")
        elif _is_ours(port):
            yield Finding("ok", f"port {port}: one of our processes answers")
        else:
            yield Finding("bad", f"port {port} is taken by something else", f"End it, or choose another {name}.")


def _workers(settings: Settings, _: Installation) -> Iterator[Finding]:
    try:
        stats = StatsReader(connect(settings), lease_s=settings.lease_s).read()
    except (ThinkqueueError, redis.RedisError):
        return  # told above
    counts = {stage.value: len(found.in_state("ready")) for stage, found in stats.stages.items()}
    counts["keeper"] = stats.keepers
    waiting = sum(found.waiting for found in stats.stages.values())
    modules = {
        Stage.PREPARE.value: "worker.prepare",
        Stage.GENERATE.value: "worker.generate",
        "keeper": "worker.keeper",
    }
    if all(counts.values()):
        yield Finding("ok", "workers: " + ", ".join(f"{count} {stage}" for stage, count in counts.items()))
        return
    for stage, count in counts.items():
        if not count:
            what = f"no {stage} worker is ready" + (f", and jobs wait: {waiting:,}" if waiting else "")
            way_out = f"Start one, `python -m {modules[stage]}`; if one runs, its log says what it waits for."
            yield Finding("bad" if waiting else "note", what, way_out)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=3).status_code < 500
    except httpx.HTTPError:
        return False


def _is_ours(port: int) -> bool:
    """The api says it in JSON, the others on their MONITOR_PORT as a word."""
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


def _cached(model: str) -> bool:
    return any(_hub_cache().glob(f"models--{model.replace('/', '--')}/snapshots/*/*.safetensors"))


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
