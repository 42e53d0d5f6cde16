import pytest
import torch

from cosmos_sim.world_model.rope import axis_widths, resolution_ratio, rotary_table, rotate

CPU = torch.device("cpu")


def test_a_head_of_128_has_the_released_split():
    assert axis_widths(128) == (44, 42, 42)


def test_angles_are_those_of_the_formula_in_the_order_time_height_width():
    size, ratio = (2, 3, 5), (1.5, 2.0, 3.0)
    cos, sin = rotary_table(size, 128, ratio, device=CPU)
    assert cos.shape == sin.shape == (30, 128)
    token, start = 1 * 15 + 2 * 5 + 4, 0
    for position, dim, r in zip((1, 2, 4), axis_widths(128), ratio, strict=True):
        theta = 1e4 * r ** (dim / (dim - 2))
        angle = torch.tensor([position * theta ** (-2 * i / dim) for i in range(dim // 2)])
        for half in (0, 64):
            torch.testing.assert_close(cos[token, half + start :][: dim // 2], angle.cos(), rtol=0, atol=1e-6)
            torch.testing.assert_close(sin[token, half + start :][: dim // 2], angle.sin(), rtol=0, atol=1e-6)
        start += dim // 2


def test_scores_depend_on_the_distance_alone():
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 24).expand(2, 1, 1, 60, 24)
    cos, sin = rotary_table((3, 4, 5), 24, (1.0, 2.0, 2.0), device=CPU)
    scores = (rotate(q, cos, sin) @ rotate(k, cos, sin).transpose(-1, -2))[0, 0].view(3, 4, 5, 3, 4, 5)
    torch.testing.assert_close(scores[0, 1, 0, 1, 3, 2], scores[1, 0, 2, 2, 2, 4], rtol=0, atol=1e-4)
    assert (scores[0, 1, 0, 1, 3, 2] - scores[0, 0, 0, 1, 3, 2]).abs() > 1e-3
    torch.testing.assert_close(rotate(q, cos, sin).norm(dim=-1), q.norm(dim=-1))


def test_a_table_made_in_inference_mode_serves_training():
    with torch.inference_mode():
        cos, sin = rotary_table((2, 2, 7), 24, (1.0, 1.0, 1.0), device=CPU)
    again, _ = rotary_table((2, 2, 7), 24, (1.0, 1.0, 1.0), device=CPU)
    assert again is cos
    x = torch.randn(1, 2, 28, 24, requires_grad=True)
    rotate(x, cos, sin).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize(
    ("size", "ratio"),
    [
        ((704, 1280), 3.0),
        ((720, 1280), 3.0),
        ((1280, 704), 3.0),
        ((480, 832), 2.0),
        ((432, 768), 2.0),
        ((192, 320), 1.0),
        ((256, 320), 1.0),
        ((1080, 1920), 4.5),
    ],
)
def test_the_ratio_follows_the_resolution(size: tuple[int, int], ratio: float):
    assert resolution_ratio(*size) == (1.0, ratio, ratio)


def test_a_video_without_pixels_has_no_ratio():
    with pytest.raises(ValueError, match="0x32"):
        resolution_ratio(0, 32)
