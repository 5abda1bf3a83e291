import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from concept_attention import scores
from concept_attention.choices import MODE_NAMES
from concept_attention.errors import UserError
from concept_attention.scores import MODES, normalise_concepts, resolve_mode, score_concepts


def naive_normalisation(concepts: Tensor, vectors: str) -> Tensor:
    concepts = concepts.double().clone()
    batch, count, features = concepts.shape
    for b in range(batch):
        if vectors == "linear":
            for d in range(features):
                low = min(float(concepts[b, c, d]) for c in range(count))
                total = sum(float(concepts[b, c, d]) - low for c in range(count))
                for c in range(count):
                    concepts[b, c, d] = (concepts[b, c, d] - low) / total if total else 0
        if vectors == "l2":
            for c in range(count):
                length = sum(float(x) ** 2 for x in concepts[b, c]) ** 0.5
                concepts[b, c] = concepts[b, c] / length if length else 0
    return concepts


def naive_scores(image: Tensor, concepts: Tensor, vectors: str) -> Tensor:
    concepts = naive_normalisation(concepts, vectors)
    out = torch.zeros(image.shape[0], concepts.shape[1], image.shape[1], dtype=torch.float64)
    for b in range(out.shape[0]):
        for c in range(out.shape[1]):
            for n in range(out.shape[2]):
                out[b, c, n] = (image[b, n].double() * concepts[b, c]).sum()
    return out


def outputs(batch=2, concepts=4, tokens=13, features=24, dtype=torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(batch, tokens, features, generator=generator).to(dtype)
    return image, torch.randn(batch, concepts, features, generator=generator).to(dtype)


@pytest.mark.parametrize("vectors", ["raw", "linear", "l2"])
def test_scores_are_dot_products_with_normalised_concepts(vectors):
    image, concepts = outputs()
    out = score_concepts(image, concepts, vectors)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), naive_scores(image, concepts, vectors), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("vectors", ["raw", "linear", "l2"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_products_are_accumulated_in_float32_whatever_the_model_computes_in(dtype, vectors):
    image, concepts = outputs(features=3072, dtype=dtype)
    image, concepts = image + 3, concepts + 3  # sums near 30000, where bfloat16 counts in steps of 128
    expected = naive_scores(image, concepts, vectors)
    out = score_concepts(image, concepts, vectors)
    torch.testing.assert_close(out.double(), expected, atol=0, rtol=2e-6)


def test_image_and_concepts_may_differ_in_dtype():
    image, concepts = outputs()
    expected = naive_scores(image, concepts.bfloat16(), "raw")
    out = score_concepts(image, concepts.bfloat16())
    torch.testing.assert_close(out.double(), expected, atol=1e-5, rtol=1e-5)


def test_autocast_around_the_model_does_not_round_the_products():
    image, concepts = outputs(features=3072)
    with torch.autocast("cpu", torch.bfloat16):
        out = score_concepts(image, concepts)
    assert torch.equal(out, score_concepts(image, concepts))


@pytest.mark.parametrize("elements", [1, 2 * 24 * 5, 2 * 24 * 13])
def test_chunks_cover_every_token_once(monkeypatch, elements):
    image, concepts = outputs()
    monkeypatch.setattr(scores, "_CHUNK_ELEMENTS", elements)
    expected = naive_scores(image, concepts, "raw")
    torch.testing.assert_close(score_concepts(image, concepts).double(), expected, atol=1e-5, rtol=1e-5)


class LargestTensor(TorchDispatchMode):
    """Notes the largest tensor that any operation makes."""

    nbytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        known = {x.untyped_storage().data_ptr() for x in tree_leaves(args) if isinstance(x, Tensor)}
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in known:
                self.nbytes = max(self.nbytes, tensor.untyped_storage().nbytes())
        return out


@pytest.mark.parametrize("batch", [1, 3])
def test_the_image_is_never_copied_to_float32_as_a_whole(batch):
    image = torch.zeros(batch, 4096, 3072, dtype=torch.bfloat16)
    concepts = torch.zeros(batch, 5, 3072, dtype=torch.bfloat16)
    with LargestTensor() as largest, torch.no_grad():
        score_concepts(image, concepts)
    assert 0 < largest.nbytes <= 16 * 2**20 < 2 * image.nbytes


@pytest.mark.parametrize("vectors", ["raw", "linear", "l2"])
def test_gradients_are_those_of_the_formula(monkeypatch, vectors):
    monkeypatch.setattr(scores, "_CHUNK_ELEMENTS", 100)
    image, concepts = (tensor.requires_grad_() for tensor in outputs(1, 3, 5, 4))
    weights = torch.randn(1, 3, 5)
    ours = torch.autograd.grad((score_concepts(image, concepts, vectors) * weights).sum(), (image, concepts))
    spread = concepts - concepts.min(dim=1, keepdim=True).values
    normalised = {
        "raw": concepts,
        "linear": spread / spread.sum(dim=1, keepdim=True),
        "l2": concepts / concepts.norm(dim=2, keepdim=True),
    }[vectors]
    expected = torch.autograd.grad((normalised @ image.mT * weights).sum(), (image, concepts))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


def test_linear_normalisation_sums_to_one_per_feature_and_is_zero_where_concepts_agree():
    _, concepts = outputs()
    concepts[:, :, 3] = 7.0
    out = normalise_concepts(concepts, "linear")
    expected = torch.ones(2, 24)
    expected[:, 3] = 0
    torch.testing.assert_close(out.sum(dim=1), expected)
    assert (out[:, :, 3] == 0).all()


def test_linear_normalisation_of_a_single_concept_is_zero_with_finite_gradients():
    image, concepts = outputs(concepts=1)
    concepts.requires_grad_()
    out = score_concepts(image, concepts, "linear")
    out.sum().backward()
    assert (out == 0).all()
    assert concepts.grad is not None and torch.isfinite(concepts.grad).all()


def test_l2_normalisation_of_a_zero_vector_is_zero():
    assert (normalise_concepts(torch.zeros(1, 2, 8), "l2") == 0).all()


def test_raw_concepts_are_unchanged_but_float32():
    _, concepts = outputs(dtype=torch.bfloat16)
    out = normalise_concepts(concepts, "raw")
    assert out.dtype == torch.float32 and torch.equal(out, concepts.float())


def test_unknown_normalisation_is_an_error():
    with pytest.raises(ValueError, match="raw, linear, l2"):
        normalise_concepts(torch.zeros(1, 2, 8), "cosine")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("image", "concepts"),
    [((2, 5, 8), (1, 3, 8)), ((2, 5, 8), (2, 3, 9)), ((5, 8), (3, 8)), ((2, 5, 8), (2, 3, 1, 8))],
)
def test_wrong_shapes_are_errors_that_name_both(image, concepts):
    with pytest.raises(ValueError) as error:
        score_concepts(torch.zeros(image), torch.zeros(concepts))
    assert str(image) in str(error.value) and str(concepts) in str(error.value)


def test_modes_reproduce_what_they_are_named_after():
    rules = {mode.name: (mode.vectors, mode.order, mode.temperature, mode.padded_tokens) for mode in MODES.values()}
    assert rules == {
        "paper": ("linear", "softmax_then_mean", 1.0, 0),
        "flux": ("raw", "softmax_then_mean", 1.0, 0),
        "flux2": ("raw", "mean_then_softmax", 1000.0, 0),
        "sd3": ("l2", "softmax_then_mean", 1.0, 0),
        "cogvideox": ("raw", "softmax_then_mean", 1.0, 226),
        "cross": ("raw", "softmax_then_mean", 1.0, 0),
        "gram": ("raw", "softmax_then_mean", 0.1, 0),
    }
    assert {mode.name: mode.reading for mode in MODES.values() if mode.reading != "concept"} == {
        "cross": "cross",
        "gram": "gram",
    }
    assert list(MODES) == list(rules)


@pytest.mark.parametrize(
    ("name", "architecture", "expected"),
    [
        ("auto", "flux", "flux"),
        ("auto", "flux2", "flux2"),
        ("auto", "sd3", "sd3"),
        ("auto", "cogvideox", "flux"),  # in its own mode shares do not add up to 1
        ("cogvideox", "cogvideox", "cogvideox"),
        ("auto", "qwen_image", "flux"),
        ("auto", "paper", "flux"),
        ("paper", "flux2", "paper"),
    ],
)
def test_auto_mode_is_that_of_the_architecture(name, architecture, expected):
    assert resolve_mode(name, architecture).name == expected


def test_the_modes_are_the_names_users_choose_from():
    assert ("auto", *MODES) == MODE_NAMES


def test_unknown_mode_is_an_error_that_lists_the_modes():
    with pytest.raises(UserError, match="'fast' does not exist.*auto, paper, flux, flux2, sd3, cogvideox"):
        resolve_mode("fast", "flux")
