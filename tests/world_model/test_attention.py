import pytest
import torch
import torch.nn.functional as F

from cosmos_sim.world_model.attention import (
    KeysValues,
    attend,
    attend_causally,
    attend_per_frame,
    attention_kernels,
)
from cosmos_sim.world_model.attention_products import attend_by_products, pays_in_products


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def relative(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found.double() - exact).detach().norm() / exact.detach().norm())


def test_products_in_bf16_are_as_exact_as_the_kernel():
    q, k, v = 2 * draw(2, 3, 300, 16), draw(2, 3, 520, 16), draw(2, 3, 521, 16)[:, :, 1:]
    low = [x.bfloat16() for x in (q, k, v)]
    exact = F.scaled_dot_product_attention(*(x.double() for x in low))
    errors = [relative(f(*low), exact) for f in (F.scaled_dot_product_attention, attend_by_products)]
    assert errors[1] < 1.5 * errors[0] < 0.01
    with torch.inference_mode():
        assert torch.equal(attend(*low), attend_by_products(*low))
    torch.testing.assert_close(attend(q, k, v), F.scaled_dot_product_attention(q, k, v))


def test_products_have_the_gradients_of_attention():
    """As exact as bf16 lets them be; what is not wanted is not asked of too few keys, nor of too many scores."""
    q, k, v = 2 * draw(2, 3, 300, 16), draw(2, 3, 520, 16), draw(2, 3, 521, 16)[:, :, 1:]
    low = [x.bfloat16().requires_grad_() for x in (q, k, v)]
    exact = [x.detach().double().requires_grad_() for x in low]
    grad = draw(2, 3, 300, 17)[..., 1:]
    found, expected = attend(*low), F.scaled_dot_product_attention(*exact)
    assert type(found.grad_fn).__name__ == "_ProductsBackward"
    found.backward(grad.bfloat16())
    expected.backward(grad.bfloat16().double())
    assert relative(found, expected) < 0.01
    for x, reference in zip(low, exact, strict=True):
        assert relative(x.grad, reference.grad) < 0.015
    many = torch.empty(1, 1, 9000, 16, dtype=torch.bfloat16)
    assert not pays_in_products(many, many)
    assert not pays_in_products(low[0], low[2][:, :, :500])
    with torch.no_grad():
        assert pays_in_products(many, many)


def test_causally_a_frame_sees_itself_and_the_past():
    frames, n = 4, 6
    q, k, v = draw(2, 3, 24, 8), draw(2, 3, 24, 9)[..., 1:], draw(2, 3, 24, 10)[..., 2:]
    frame = torch.arange(frames).repeat_interleave(n)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=frame[:, None] >= frame)
    torch.testing.assert_close(attend_causally(q, k, v, frames), expected)


def test_per_frame_a_token_sees_the_text_and_its_own_action():
    frames, n, text = 3, 5, 7
    q, k, v = draw(2, 4, frames * n, 8), draw(2, 4, text, 8), draw(2, 4, text, 9)[..., 1:]
    own_k, own_v = draw(2, 4, frames, 8), draw(2, 4, frames, 9)[..., 1:]
    frame = torch.arange(frames).repeat_interleave(n)
    mask = torch.cat([torch.ones(frames * n, text).bool(), frame[:, None] == torch.arange(frames)], dim=1)
    expected = F.scaled_dot_product_attention(
        q, torch.cat([k, own_k], dim=2), torch.cat([v, own_v], dim=2), attn_mask=mask
    )
    torch.testing.assert_close(attend_per_frame(q, KeysValues(k, v), KeysValues(own_k, own_v)), expected)


def test_the_kernel_can_be_chosen():
    q, k, v = (draw(1, 2, n, 8) for n in (6, 5, 5))
    for name in ("auto", "flash", "math"):
        with attention_kernels(name):
            torch.testing.assert_close(attend(q, k, v), F.scaled_dot_product_attention(q, k, v))
    with attention_kernels("cudnn"), pytest.raises(RuntimeError, match="kernel"):
        attend(q, k, v)
    with pytest.raises(ValueError, match=r"'cuddn'; did you mean 'cudnn'"):
        attention_kernels("cuddn")
