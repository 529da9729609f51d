"""The scheduler, thinking control and the data types of the engine import without torch."""

import pkgutil
import subprocess
import sys

import engine.core

TORCH_FREE = [
    "engine",
    "engine.config",
    "engine.errors",
    "engine.events",
    "engine.request",
    "engine.stats",
    *(f"engine.core.{module.name}" for module in pkgutil.iter_modules(engine.core.__path__)),
]
BLOCK_TORCH = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "tokenizers"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter in which torch cannot be imported."""
    command = [sys.executable, "-c", f"{BLOCK_TORCH}\n{code}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_core_imports_without_torch() -> None:
    assert {"scheduler", "sequence", "block_pool", "thinking", "tokenizer_info", "detokenizer"} <= {
        name.rpartition(".")[2] for name in TORCH_FREE
    }
    lines = "\n".join(f"import {name}" for name in TORCH_FREE)
    names = "Delta, EngineConfig, EngineStats, Finished, ModelInputs, Request, SamplingParams"
    done = python(f"{lines}\nfrom engine import {names}\nassert 'torch' not in sys.modules")
    assert done.returncode == 0, done.stderr


def test_the_engine_itself_needs_torch() -> None:
    """Proves that the interpreter of the other test blocks torch."""
    done = python("from engine import Engine")
    assert done.returncode == 1
    assert "torch is blocked" in done.stderr


def test_every_exported_name_exists() -> None:
    for name in engine.__all__:
        assert getattr(engine, name) is not None
