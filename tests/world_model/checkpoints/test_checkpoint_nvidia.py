"""What NVIDIA's trainer leaves in its checkpoints."""

import io
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from tiny_networks import BASE, network, nvidia_state, same, stored
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex, TensorProperties
from torch.distributed.checkpoint.planner import TensorWriteData, WriteItem, WriteItemType

from cosmos_sim.world_model.checkpoints.convert import Options, convert
from cosmos_sim.world_model.checkpoints.load import load_dit
from cosmos_sim.world_model.checkpoints.names import position_tables


class Cut:
    """A tensor that is saved in two pieces of unequal size, as it is when two ranks hold it."""

    def __init__(self, tensor: torch.Tensor, dim: int) -> None:
        sizes = (tensor.shape[dim] // 3, tensor.shape[dim] - tensor.shape[dim] // 3)
        self.tensor = tensor
        self.pieces = dict(
            zip(((0, 0), (sizes[0], 0) if dim == 0 else (0, sizes[0])), tensor.split(sizes, dim), strict=True)
        )

    def __create_write_items__(self, name: str, _: object) -> list[WriteItem]:
        rest = TensorProperties.create_from_tensor(self.tensor), self.tensor.shape
        chunks = [ChunkStorageMetadata(torch.Size(at[: p.ndim]), p.shape) for at, p in self.pieces.items()]
        return [
            WriteItem(
                MetadataIndex(name, chunk.offsets), WriteItemType.SHARD, tensor_data=TensorWriteData(chunk, *rest)
            )
            for chunk in chunks
        ]


class Pieces(DefaultSavePlanner):
    def lookup_object(self, index: MetadataIndex) -> torch.Tensor:
        assert index.offset is not None
        return self.state_dict[index.fqn].pieces[(*index.offset, 0)[:2]]


def test_averaged_weights_come_first_and_what_is_no_weight_is_left(tmp_path: Path):
    regular, averaged = network(BASE), network(BASE)
    with torch.no_grad():
        for parameter in averaged.parameters():
            parameter.mul_(3)
    rest = {
        "net.accum_iteration": torch.tensor(7),
        "net.accum_video_sample_counter": torch.tensor(9.0),
        "net.blocks.0.self_attn.attn_op._extra_state": io.BytesIO(b"state of a kernel"),
        "net.blocks.1.self_attn.attn_op._extra_state": torch.zeros(0, dtype=torch.uint8),
    }
    torch.save({"model": nvidia_state(regular) | nvidia_state(averaged, "net_ema.") | rest}, tmp_path / "a.pt")
    same(stored(tmp_path / "a.pt")[1], averaged.state_dict())
    convert(tmp_path / "a.pt", tmp_path / "ours", to="ours", options=Options(which="regular"))
    same(stored(tmp_path / "ours")[1], regular.state_dict())
    torch.save(nvidia_state(regular), tmp_path / "b.pt")
    with pytest.raises(ValueError, match="no ema weights, only regular"):
        load_dit(tmp_path / "b.pt", which="ema")
    with pytest.raises(ValueError, match="regular would be ignored"):
        load_dit(tmp_path / "ours", which="regular")


def test_a_checkpoint_in_pieces_is_put_together(tmp_path: Path):
    model = network(replace(BASE, num_blocks=1), torch.bfloat16)
    state = {
        name: Cut(tensor, dim=number % tensor.ndim)
        for number, (name, tensor) in enumerate(nvidia_state(model, "net_ema.").items())
    }
    writer = dcp.FileSystemWriter(tmp_path / "model", thread_count=2)
    dcp.save(state, storage_writer=writer, planner=Pieces(), no_dist=True)
    assert len(list((tmp_path / "model").glob("*.distcp"))) == 2
    same(stored(tmp_path)[1], model.state_dict())


def test_position_tables_have_the_released_shapes():
    tables = position_tables(128)
    assert {name: table.shape[0] for name, table in tables.items()} == {
        "seq": 128,
        "dim_spatial_range": 21,
        "dim_temporal_range": 22,
    }
    assert tables["seq"][-1] == 127
    assert tables["dim_spatial_range"][20].item() == pytest.approx(40 / 42)
    assert tables["dim_temporal_range"][21].item() == pytest.approx(42 / 44)


def test_damaged_distributed_checkpoints_are_refused(tmp_path: Path):
    folder = tmp_path / "model"
    dcp.save(nvidia_state(network(replace(BASE, num_blocks=1))), checkpoint_id=folder)
    (file,) = folder.glob("*.distcp")
    content = file.read_bytes()
    file.write_bytes(content[:-100])
    with pytest.raises(ValueError, match=r"__0_0\.distcp is truncated: \d+ of \d+ bytes"):
        load_dit(folder)
    file.unlink()
    with pytest.raises(ValueError, match=r"lacks __0_0\.distcp"):
        load_dit(folder)

    class Trap:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "sprung",))

    (folder / ".metadata").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match=r"names .*, which is never loaded"):
        load_dit(folder)
    (folder / ".metadata").write_bytes(b"")
    with pytest.raises(ValueError, match="no metadata of a distributed checkpoint"):
        load_dit(folder)
    assert not (tmp_path / "sprung").exists()
