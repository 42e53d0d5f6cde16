"""Where and when a benchmark was run, for the head of its output."""

import os
import platform
import subprocess
from datetime import date
from pathlib import Path

import torch

import cosmos_sim


def provenance(device: torch.device) -> str:
    """Date, device, threads, versions and commit, in two lines."""
    return (
        f"# {date.today()}, {device_name(device)}, commit {commit()}\n"
        f"# cosmos-sim {cosmos_sim.__version__}, torch {torch.__version__}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f} when begun"
    )


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    able = [name for name, has in torch.cpu.get_capabilities().items() if has is True and "bf16" in name]
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
    return f"{model} ({', '.join(able) or 'no bf16 instructions'})"


def commit() -> str:
    """The checked-out commit, with a ``+`` where the package's files differ from it."""
    here = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "cosmos_sim")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if changed else "")
