"""Reads /proc: what this machine's processor can do in one instruction, where that changes what is best."""

from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})


@cache
def has_bfloat16(cpuinfo: Path = CPUINFO) -> bool:
    """Whether oneDNN's products of bfloat16 are quicker than those of float32. No where the system does not tell."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    return any(BFLOAT16 & set(line.split()) for line in lines if line.startswith("flags"))
