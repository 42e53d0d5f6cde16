import pytest
import torch
from torch import Tensor, nn

from cosmos_sim.world_model.execution import CudaGraphs, pad_batch, run_as
from cosmos_sim.world_model.noise import CountedNoise

CPU = torch.device("cpu")


def test_batches_are_padded_to_powers_of_two_and_results_cut():
    sizes = []

    def double(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        sizes.append(len(x))
        return 2 * x, y + 1

    padded = pad_batch(double)
    for size, padded_size in ((1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (16, 16), (17, 32)):
        x, y = torch.randn(size, 3), torch.randn(size)
        a, b = padded(x, y)
        assert torch.equal(a, 2 * x)
        assert torch.equal(b, y + 1)
        assert sizes[-1] == padded_size


def test_nothing_is_wrapped_unless_asked_for():
    def same(x: Tensor) -> tuple[Tensor, ...]:
        return (x,)

    assert run_as(same, device=CPU, compiled=False, graphs=False) is same


def test_graphs_on_a_cpu_are_an_error():
    with pytest.raises(ValueError, match="graphs=True needs a CUDA device, not cpu"):
        run_as(lambda x: (x,), device=CPU, compiled=False, graphs=True)


def test_compiling_without_a_compiler_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler"):
        run_as(lambda x: (x,), device=CPU, compiled=True, graphs=False)


class Little(nn.Module):
    """What a world's step is made of, in small: counted noise, a product, a result that must not be shared."""

    def __init__(self) -> None:
        super().__init__()
        self.noise = CountedNoise((3, 5))
        self.linear = nn.Linear(5, 2)
        self.requires_grad_(False)

    def forward(self, seeds: Tensor, steps: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        noise = self.noise(seeds, steps)
        return noise, self.linear(noise + x[:, None])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.inference_mode()
def test_graphs_compute_the_same_and_keep_earlier_results():
    device = torch.device("cuda")
    little = Little().to(device)
    graphs = CudaGraphs(little)
    kept = []
    for k in range(3):
        inputs = (torch.arange(4, device=device), torch.full((4,), k, device=device), torch.randn(4, 5, device=device))
        kept.append((graphs(*inputs), little(*inputs)))
    for fast, plain in kept:
        assert torch.equal(fast[0], plain[0])
        torch.testing.assert_close(fast[1], plain[1])
