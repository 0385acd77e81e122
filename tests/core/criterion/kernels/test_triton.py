"""Triton kernels without a GPU: their numbers in the interpreter, and machine code for three compute capabilities."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

triton = pytest.importorskip("triton", reason="needs Triton")


def test_numbers_in_the_interpreter():
    module = Path(__file__).with_name("triton_interpreted.py")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(module)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert finished.returncode == 0, finished.stdout[-5000:] + finished.stderr[-2000:]
    assert " passed" in finished.stdout


# Shared memory that a program may have on a device of this compute capability, in bytes.
SHARED_MEMORY = {80: 163 * 1024, 86: 99 * 1024, 90: 227 * 1024}


@pytest.mark.parametrize("capability", SHARED_MEMORY)
@pytest.mark.parametrize("maps", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("gram", [False, True])
def test_products_compile_to_machine_code(capability, maps, gram, tmp_path, monkeypatch):
    from foad_plugins.criterion.kernels import triton_sums
    from foad_plugins.criterion.kernels.triton_kernels import add_products

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    for channels in (64, 512):
        options = triton_sums.tile_options(channels, gram=gram, capability=divmod(capability, 10))
        constants = {
            "CLOSE": triton_sums._CLOSE,
            "GRAM": gram,
            "PLANES": 3 if maps == "fp32" else 1,
            "PANEL": 64,
            "BM": options.pop("BM"),
            "BK": triton_sums._CHUNK,
            "WIDTH": triton_sums._CHUNK,
        }
        planes = "bf16" if maps == "fp32" else maps
        pointers = {"maps": maps, "planes": planes, "norms": "fp32", "sums": "fp64", "grams": "fp64"}
        code = compiled(add_products, pointers, constants, capability, **options)
        assert code.metadata.shared <= SHARED_MEMORY[capability]
        assert "cp.async" in code.asm["ptx"], "loads must overlap with products"


@pytest.mark.parametrize("capability", SHARED_MEMORY)
def test_the_other_kernels_compile_to_machine_code(capability, tmp_path, monkeypatch):
    from foad_plugins.criterion.kernels import triton_kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    compiled(
        triton_kernels.split_maps,
        {"maps": "fp32", "planes": "bf16", "norms": "fp32"},
        {"PLANES": 3, "ROWS": 16, "WIDTH": 64},
        capability,
    )
    compiled(
        triton_kernels.add_differences,
        {"maps": "fp32", "norms": "fp32", "sums": "fp64", "grams": "fp64"},
        {"GRAM": True, "PANEL": 64, "BM": 64},
        capability,
        num_warps=8,
    )


def compiled(kernel, pointers, constants, capability, **options):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = {name: f"*{dtype}" for name, dtype in pointers.items()} | dict.fromkeys(constants, "constexpr")
    signature = {name: types.get(name, "i32") for name in kernel.arg_names}
    aligned = {
        (number,): [["tt.divisibility", 16]]
        for number, name in enumerate(kernel.arg_names)
        if name in (*pointers, "padded")
    }
    source = ASTSource(kernel, signature, constexprs=constants, attrs=aligned)
    code = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert len(code.asm["cubin"]) > 1000
    return code
