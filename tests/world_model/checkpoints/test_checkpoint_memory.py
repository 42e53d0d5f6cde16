"""A conversion holds one tensor at a time, measured by the operating system in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SHARD = 48_000_000

CODE = """
import json, re, sys
from functools import partial
from pathlib import Path
import torch
from cosmos_sim.world_model.checkpoints.convert import Options, convert
from cosmos_sim.world_model.checkpoints.infer import expected_shapes
from cosmos_sim.world_model.checkpoints.network import Network, save_nvidia
from cosmos_sim.world_model.checkpoints.stored import StoredTensor
from cosmos_sim.world_model.dit import DiTConfig

folder, shard = Path(sys.argv[1]), int(sys.argv[2])

def kilobytes(key):
    return int(re.search(key + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def chain(name, config):
    shapes = expected_shapes(config)
    weights = {key: StoredTensor(shape, torch.bfloat16, partial(torch.ones, shape, dtype=torch.bfloat16))
               for key, shape in shapes.items()}
    save_nvidia(Network(config, weights), folder / f"{name}.pt")
    growth = {}
    steps = [("ours", "ours", f"{name}.pt"), ("dcp", "nvidia-dcp", "ours"), ("pipeline", "diffusers", "dcp"),
             ("last.pt", "nvidia", "pipeline")]
    for target, to, source in steps:
        Path("/proc/self/clear_refs").write_text("5")
        before = kilobytes("VmRSS")
        options = Options(max_shard=shard) if to in ("ours", "diffusers") else None
        done = convert(folder / source, folder / target, to=to, options=options, overwrite=True)
        growth[to] = (kilobytes("VmHWM") - before) * 1024
    return growth, done.nbytes

sizes = dict(adaln_lora_dim=64, context_dim=256, context_in_dim=2048)
chain("small", DiTConfig(model_channels=128, num_blocks=1, num_heads=2, **sizes))
growth, nbytes = chain("large", DiTConfig(model_channels=1024, num_blocks=8, num_heads=8, **sizes))
print(json.dumps({"growth": growth, "nbytes": nbytes}))
"""


@pytest.mark.timeout(900)
def test_memory_stays_below_a_shard_of_a_much_larger_file(tmp_path: Path):
    command = [sys.executable, "-c", CODE, str(tmp_path), str(SHARD)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    measured = json.loads(run.stdout)
    assert measured["nbytes"] > 5 * SHARD
    assert len(list((tmp_path / "ours").glob("*.safetensors"))) > 5
    over = {to: grown for to, grown in measured["growth"].items() if grown > 1.3 * SHARD}
    assert not over, measured
