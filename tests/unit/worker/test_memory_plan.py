"""Decoders of hostile files together stay below the memory limit of their worker."""

import io
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from families import ImageBounds
from testing.processes.servers import settings_of
from tests.unit.worker import memory_programs as programs
from worker.prepare.deadline import Deadline
from worker.prepare.decoding.decoder_pool import DecoderPool
from worker.prepare.decoding.decoders import write_image
from worker.prepare.decoding.memory_plan import BASE_BYTES, OVERSHOOT_BYTES, WORKER_BYTES, MemoryPlan, divide_memory
from worker.prepare.media.errors import MediaError
from worker.prepare.preparation import Preparation
from worker.prepare.sandbox.client import Sandbox

GIB, MIB = 2**30, 2**20
GIVEN = {
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "S3_ENDPOINT": "http://127.0.0.1:8333",
    "S3_BUCKET": "bucket",
    "S3_ACCESS_KEY": "key",
    "S3_SECRET_KEY": "very-secret",
    "WEBHOOK_SECRET": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
}
BOUNDS = ImageBounds(factor=28, min_pixels=784, max_pixels=1_000_000)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


class Peak:
    """The most memory that all decoders of a sandbox have together; samples it in a thread."""

    def __init__(self, sandbox: Sandbox) -> None:
        assert sandbox._server is not None
        self._server = psutil.Process(sandbox._server.process.pid)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.bytes = 0

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stopped.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stopped.wait(0.01):
            used = 0
            for child in self._server.children(recursive=True):
                try:
                    memory = child.memory_info()
                    used += memory.rss - memory.shared
                except psutil.NoSuchProcess:
                    continue
            self.bytes = max(self.bytes, used)


def pool_of(sandbox: Sandbox, *, memory_bytes: int, decoders: int = 2) -> DecoderPool:
    settings = settings_of({**GIVEN, "DECODERS": str(decoders), "PREPARE_MEMORY_BYTES": str(memory_bytes)})
    sandbox.start()
    return DecoderPool(settings, sandbox)


def preparation_of(tenant: str) -> Preparation:
    return Preparation(tenant, Deadline(300), lambda: None)


def run(pool: DecoderPool, folder: Path, tenant: str, function: Any, *arguments: Any, **more: Any) -> Any:
    """Run a program as one job of a tenant; returns its result or the code of its error."""
    source = folder / f"source-{tenant}"
    source.touch()
    own = folder / tenant
    own.mkdir(exist_ok=True)
    limits: dict[str, Any] = {"readable": source, "writable": own, "timeout_s": 100.0, **more}
    try:
        return pool.run(preparation_of(tenant), function, *arguments, **limits)
    except MediaError as error:
        return error.code


def drawing_pdf(lines: int) -> bytes:
    """Return a small PDF whose page has so many lines, all beside the visible part."""
    drawing = zlib.compress(b"900 900 m 901 901 l S\n" * lines)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count 1 /Kids [4 0 R] >>",
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream" % (len(drawing), drawing),
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 3 0 R >>",
    ]
    out = b"%PDF-1.7\n" + b"".join(b"%d 0 obj\n%b\nendobj\n" % (n, content) for n, content in enumerate(objects, 1))
    return out + b"trailer\n<< /Size 5 /Root 1 0 R >>\n%%EOF\n"


def large_png() -> bytes:
    out = io.BytesIO()
    pixels = np.tile(np.arange(90, dtype=np.uint8).repeat(100), (9_000, 1))
    Image.merge("RGB", [Image.fromarray(pixels)] * 3).save(out, "PNG", compress_level=1)
    return out.getvalue()


@pytest.mark.slow
def test_hostile_files_together_stay_below_the_memory_limit(sandbox: Sandbox, tmp_path: Path) -> None:
    """Two small PDFs that draw three million lines, which need a gigabyte, and a large PNG, each of another tenant."""
    limit = 9 * GIB // 4
    pool = pool_of(sandbox, memory_bytes=limit, decoders=1)
    (tmp_path / "hostile.pdf").write_bytes(drawing_pdf(3_000_000))
    (tmp_path / "large.png").write_bytes(large_png())

    def prepare(tenant: str) -> Any:
        source, target = tmp_path / "hostile.pdf", tmp_path / tenant / "out.png"
        arguments: tuple[Any, ...] = (programs.render, source, target)
        if tenant == "c":
            source = tmp_path / "large.png"
            arguments = (write_image, source, BOUNDS, 100_000_000, target)
        return run(pool, tmp_path, tenant, *arguments, readable=source)

    with Peak(sandbox) as peak, ThreadPoolExecutor(3) as threads:
        results = list(threads.map(prepare, "abc"))
    assert peak.bytes > 900 * MIB, "the files need much memory"
    assert peak.bytes < limit - WORKER_BYTES
    assert all(result in ("decode_memory", "decode_timeout") or len(result) == 4 for result in results)
    assert len(results[2]) == 4, "the honest image is not a victim"


def test_a_decoder_that_needs_more_is_paused_until_another_one_has_ended(sandbox: Sandbox, tmp_path: Path) -> None:
    pool = pool_of(sandbox, memory_bytes=3 * GIB)
    assert pool.plan.large_decoders == 1
    size = BASE_BYTES + 256 * MIB
    with Peak(sandbox) as peak, ThreadPoolExecutor(2) as threads:
        runs = {name: threads.submit(run, pool, tmp_path, name, programs.fill, size, tmp_path / name / "n")
                for name in "ab"}  # fmt: skip
        assert {name: future.result() for name, future in runs.items()} == {"a": size, "b": size}
    assert peak.bytes < 2 * size, "never both at their full size"


def test_small_decoders_do_not_wait_for_large_ones(sandbox: Sandbox, tmp_path: Path) -> None:
    pool = pool_of(sandbox, memory_bytes=3 * GIB)
    release = threading.Event()

    def hold() -> None:
        if release.is_set():
            raise InterruptedError

    own = tmp_path / "large"
    own.mkdir()
    large = Preparation("a", Deadline(300), hold)
    arguments = (programs.fill_and_wait, BASE_BYTES + 200 * MIB, own / "n")
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(pool.run, large, *arguments, readable=own, writable=own, timeout_s=100.0)
        while not (own / "n").exists() or int((own / "n").read_text() or 0) < BASE_BYTES + 150 * MIB:
            time.sleep(0.01)
            assert not future.done()
        assert run(pool, tmp_path, "b", programs.fill, 64 * MIB, tmp_path / "b" / "n") == 64 * MIB
        release.set()
        with pytest.raises(InterruptedError):
            future.result()


def test_several_programs_of_one_decoder_count_together(sandbox: Sandbox, tmp_path: Path) -> None:
    """LibreOffice may start programs, none of which exceeds the limit of one process."""
    pool = pool_of(sandbox, memory_bytes=3 * GIB)
    total = pool.plan.large_bytes + 512 * MIB
    code = run(pool, tmp_path, "a", programs.fill_in_programs, total, 4, starts_programs=True)
    assert code == "decode_memory"


@pytest.mark.parametrize("memory", [1, 2, 3, 4, 8, 12, 16, 64, 512])
@pytest.mark.parametrize("cpus", [2, 4, 16, 64, 192])
def test_all_shares_fit_into_the_memory(memory: int, cpus: int) -> None:
    plan = divide_memory(memory * GIB, decoders=None, cpus=cpus, large_bytes=4 * GIB)
    all_decoders = plan.decoders + plan.reserve
    base = BASE_BYTES + OVERSHOOT_BYTES
    used = WORKER_BYTES + (all_decoders - plan.large_decoders) * base + plan.large_decoders * plan.large_bytes
    assert used <= max(memory * GIB, WORKER_BYTES + 2 * base), "with less than 1.75 GiB, two decoders remain"
    assert 1 <= plan.decoders <= cpus
    assert plan.large_decoders >= 1


def test_a_pod_of_the_manifests_has_two_large_decoders() -> None:
    plan = divide_memory(12 * GIB, decoders=2, cpus=64, large_bytes=4 * GIB)
    assert plan == MemoryPlan(decoders=2, reserve=1, large_decoders=2, large_bytes=4 * GIB)
