import math

import pytest
import torch
from torch import Tensor

from concept_attention.attention import attend_concepts


def naive_attention(concept_q, concept_k, concept_v, image_k, image_v, key_bias=None, scale=None) -> Tensor:
    """softmax(q [k_c ; k_img]^T / sqrt(d) + bias) [v_c ; v_img], one query at a time, in float64."""
    tensors = [tensor.double() for tensor in (concept_q, concept_k, concept_v, image_k, image_v)]
    concept_q, concept_k, concept_v, image_k, image_v = tensors
    batch, heads, count, head_dim = concept_q.shape
    scale = 1 / math.sqrt(head_dim) if scale is None else scale
    out = torch.zeros(batch, count, heads * head_dim, dtype=torch.float64)
    for b in range(batch):
        for h in range(heads):
            keys = torch.cat([concept_k[b, h], image_k[b, h]])
            values = torch.cat([concept_v[b, h], image_v[b, h]])
            for c in range(count):
                logits = torch.stack([key @ concept_q[b, h, c] * scale for key in keys])
                if key_bias is not None:
                    logits[:count] += key_bias.double().expand(batch, count)[b]
                weights = logits.exp() / logits.exp().sum()
                out[b, c, h * head_dim : (h + 1) * head_dim] = weights @ values
    return out


def streams(batch=2, heads=3, concepts=4, tokens=15, head_dim=8, dtype=torch.float32, seed=0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    counts = (concepts, concepts, concepts, tokens, tokens)
    return [torch.randn(batch, heads, n, head_dim, generator=generator).to(dtype) for n in counts]


FEW_AND_MANY = [{"concepts": 4, "head_dim": 8}, {"concepts": 9, "head_dim": 8}]  # they take different ways


@pytest.mark.parametrize("shape", [*FEW_AND_MANY, {"batch": 1, "concepts": 1, "tokens": 1}, {"heads": 1}])
def test_concepts_attend_to_concepts_and_image(shape):
    inputs = streams(**shape)
    torch.testing.assert_close(attend_concepts(*inputs), naive_attention(*inputs).float(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_kept_and_softmax_is_not_rounded(dtype):
    inputs = streams(tokens=200, head_dim=16, dtype=dtype)
    out = attend_concepts(*inputs)
    assert out.dtype == dtype
    # One rounding of the weights and one of the output, of averages of values up to about 4.
    torch.testing.assert_close(out.double(), naive_attention(*inputs), atol=2e-2, rtol=2e-2)


def test_concept_rows_equal_those_of_attention_that_queries_the_image_too():
    concept_q, concept_k, concept_v, image_k, image_v = streams()
    image_q = torch.randn_like(image_k)
    key, value = torch.cat([concept_k, image_k], 2), torch.cat([concept_v, image_v], 2)
    full = torch.nn.functional.scaled_dot_product_attention(torch.cat([concept_q, image_q], 2), key, value)
    rows = full[:, :, : concept_q.shape[2]].transpose(1, 2).flatten(2)
    out = attend_concepts(concept_q, concept_k, concept_v, image_k, image_v)
    torch.testing.assert_close(out, rows, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("per_image", [False, True])
def test_key_bias_equals_repeating_the_pad_token(per_image):
    concept_q, concept_k, concept_v, image_k, image_v = streams(concepts=4)
    copies = 222
    repeated = [
        torch.cat([tensor, tensor[:, :, -1:].expand(-1, -1, copies - 1, -1)], dim=2)
        for tensor in (concept_q, concept_k, concept_v)
    ]
    expected = attend_concepts(*repeated, image_k, image_v)
    bias = torch.tensor([0, 0, 0, math.log(copies)])
    out = attend_concepts(
        concept_q,
        concept_k,
        concept_v,
        image_k,
        image_v,
        key_bias=bias.expand(2, 4) if per_image else bias,
    )
    torch.testing.assert_close(out, expected[:, :4], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("shape", FEW_AND_MANY)
def test_key_bias_can_differ_per_image(shape):
    inputs = streams(**shape)
    bias = torch.randn(2, shape["concepts"])
    expected = naive_attention(*inputs, key_bias=bias).float()
    torch.testing.assert_close(attend_concepts(*inputs, key_bias=bias), expected, atol=1e-6, rtol=1e-5)


def test_key_bias_works_in_the_dtype_of_the_model():
    inputs = streams(dtype=torch.bfloat16)
    bias = torch.tensor([0, 0, 0, math.log(222)])
    out = attend_concepts(*inputs, key_bias=bias)
    torch.testing.assert_close(out.double(), naive_attention(*inputs, key_bias=bias.bfloat16()), atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("head_dim", [2, 3])
def test_gradients_are_those_of_the_formula(head_dim):
    inputs = [tensor.requires_grad_() for tensor in streams(1, 2, 3, 4, head_dim, dtype=torch.float64)]
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *x: attend_concepts(*x[:5], key_bias=x[5]), (*inputs, bias))


def test_permuting_concepts_permutes_the_output():
    concept_q, concept_k, concept_v, image_k, image_v = streams()
    order = torch.tensor([2, 0, 3, 1])
    out = attend_concepts(concept_q, concept_k, concept_v, image_k, image_v)
    permuted = attend_concepts(concept_q[:, :, order], concept_k[:, :, order], concept_v[:, :, order], image_k, image_v)
    torch.testing.assert_close(permuted, out[:, order], atol=1e-6, rtol=1e-5)


def test_strided_inputs_are_fine():
    inputs = [tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in streams()]
    torch.testing.assert_close(attend_concepts(*inputs), attend_concepts(*streams()), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("position", "shape", "name"),
    [
        (0, (2, 4, 8), "concept_q"),
        (1, (2, 3, 5, 8), "concept_k"),
        (2, (1, 3, 4, 8), "concept_v"),
        (3, (2, 3, 15, 16), "image_k"),
        (3, (3, 15, 8), "image_k"),
        (4, (2, 3, 14, 8), "image_v"),
    ],
)
def test_wrong_shapes_are_errors_that_name_both(position, shape, name):
    inputs = streams()
    inputs[position] = torch.zeros(shape)
    with pytest.raises(ValueError, match=name) as error:
        attend_concepts(*inputs)
    assert str(shape) in str(error.value)
    assert "(2, 3" in str(error.value) or "(B, heads" in str(error.value)


def test_wrong_key_bias_is_an_error_that_names_both_shapes():
    with pytest.raises(ValueError, match=r"\(4,\), \(2, 4\) or \(1, 4, 4\).*got \(5,\)"):
        attend_concepts(*streams(), key_bias=torch.zeros(5))
