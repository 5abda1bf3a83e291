"""Baselines: maps of the right shape that say what each is meant to say, on tiny random models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BatchEncoding

from concept_attention.concepts import Concept
from concept_attention.errors import UserError
from concept_attention.evaluation.baselines.daam import Daam, attention_maps, prompt_of
from concept_attention.evaluation.baselines.dino import Dino
from concept_attention.evaluation.baselines.opening import open_baseline
from concept_attention.evaluation.baselines.sam3 import Sam3
from concept_attention.evaluation.question import Question
from concept_attention.hosts.diffusers import load_pipeline


def question(size: tuple[int, int] = (96, 48)) -> Question:
    names = ("dog", "cat", "sky")
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    return Question(image, False, tuple(Concept(name, name) for name in names), (1, 2, None), "")


def test_the_uniform_baseline_shares_everything() -> None:
    maps = open_baseline("uniform", None, "cpu")(question())
    assert torch.equal(maps, torch.full((3, 64, 64), 1 / 3))


def test_the_centre_is_the_classes_and_the_border_is_not() -> None:
    """A Gaussian of a quarter of the side: exp(-1/2) a quarter from the middle."""
    maps = open_baseline("centre", None, "cpu")(question())
    assert torch.allclose(maps.sum(dim=0), torch.ones(64, 64))
    assert torch.equal(maps[0], maps[1]) and float(maps[0, 32, 32]) > 0.49
    assert float(maps[0, 32, 48]) == pytest.approx(0.5 * float(torch.exp(torch.tensor(-0.5))), abs=0.02)
    assert float(maps[2, 0, 0]) > 0.95


def test_dino_shows_where_its_class_token_looks() -> None:
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    config = ViTConfig(image_size=32, patch_size=8, **sizes, attn_implementation="eager")
    model = ViTModel(config, add_pooling_layer=False)
    seen: list[tuple[int, ...]] = []
    model.register_forward_pre_hook(lambda module, args: seen.append(tuple(args[0].shape)))
    maps = Dino(model)(question((97, 48)))
    assert seen == [(1, 3, 480, 968)]  # the short side is 480, the other cut to whole patches of 970
    assert maps.shape == (3, 60, 121) and float(maps.max()) == pytest.approx(1)
    assert torch.equal(maps[0], maps[1]) and torch.allclose(maps[2], 1 - maps[0])
    assert float(maps[0].std()) > 0


def tiny_sam3() -> Any:
    from transformers import Sam3Config, Sam3Model

    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    vit = {**small, "num_hidden_layers": 2, "image_size": 56, "pretrain_image_size": 56, "window_size": 2,
           "global_attn_indexes": [1], "model_type": "sam3_vit_model"}  # fmt: skip
    sides = [[16, 16], [8, 8], [4, 4]]
    text = {**small, "num_hidden_layers": 1, "vocab_size": 64, "projection_dim": 16, "max_position_embeddings": 32,
            "eos_token_id": 63}  # fmt: skip
    few = {**small, "num_layers": 1}
    return Sam3Model(
        Sam3Config(
            vision_config={"backbone_config": vit, "fpn_hidden_size": 16, "backbone_feature_sizes": sides},
            text_config=text,
            geometry_encoder_config={**few, "mask_fuser_hidden_size": 16},
            detr_encoder_config=few,
            detr_decoder_config={**few, "num_queries": 5},
            mask_decoder_config={"hidden_size": 16, "num_attention_heads": 2},
        )
    )


class Letters:
    """A tokenizer that numbers letters."""

    model_max_length = 20

    def __call__(self, text: str, **options: Any) -> Any:
        ids = [ord(letter) % 61 for letter in text if letter != " "]
        if "max_length" not in options:
            return {"input_ids": ids}
        ids = [*ids, 63]
        mask = [int(place < len(ids)) for place in range(options["max_length"])]
        padded = ids + [63] * (options["max_length"] - len(ids))
        return BatchEncoding({"input_ids": torch.tensor([padded]), "attention_mask": torch.tensor([mask])})


def test_sam3_shows_the_most_certain_instance_of_each_word() -> None:
    model = tiny_sam3()
    asked = question((90, 45))
    background = Concept("background", "background", "background")
    asked = replace(asked, concepts=(*asked.concepts, background), labels=(1, 2, None, None))
    with torch.no_grad():
        maps = Sam3(model, Letters())(asked)
        pixels = np.asarray(asked.image.resize((56, 56), Image.Resampling.BILINEAR), np.float32) / 127.5 - 1
        words = Letters()("cat", max_length=32)
        out = model(pixel_values=torch.from_numpy(pixels).permute(2, 0, 1)[None], **words)
    score = out.pred_logits[0].sigmoid() * out.presence_logits[0].sigmoid()
    best = torch.stack([score[n] * out.pred_masks[0, n].sigmoid() for n in range(5)]).amax(0)
    assert torch.allclose(maps[1], best, atol=1e-5) and float(best.std()) > 0
    assert torch.allclose(maps[3], 1 - maps[:3].amax(0)) and not torch.equal(maps[0], maps[1])


def test_daam_places_the_words_of_its_prompt() -> None:
    prompt, spans = prompt_of(Letters(), ["dog", "sky", "hill"])
    assert prompt == "a dog,a sky,a hill"
    tokens = ["^", *prompt.replace(" ", "")]
    assert ["".join(tokens[span]) for span in spans] == ["dog", "sky", "hill"]
    with pytest.raises(UserError, match="do not fit into one prompt of 20 tokens"):
        prompt_of(Letters(), ["dog", "sky", "hill", "mountain"])


def test_daam_averages_attention_over_heads_and_the_tokens_of_a_word() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(1, 9, 8, generator=generator), torch.randn(1, 6, 8, generator=generator)
    maps = attention_maps(query, key, 2, 0.5, [slice(1, 2), slice(3, 5)])
    for place in range(9):
        heads = [
            (0.5 * key[0, :, 4 * head : 4 * head + 4] @ query[0, place, 4 * head : 4 * head + 4]).softmax(0)
            for head in range(2)
        ]
        mean = (heads[0] + heads[1]) / 2
        assert float(maps[0, place // 3, place % 3]) == pytest.approx(float(mean[1]), abs=1e-6)
        assert float(maps[1, place // 3, place % 3]) == pytest.approx(float((mean[3] + mean[4]) / 2), abs=1e-6)


def test_daam_reads_every_cross_attention_of_one_call_and_leaves_no_hook() -> None:
    pipeline = tiny_stable_diffusion()
    found: list[torch.Tensor] = []
    before = count_hooks(pipeline.unet)
    pipeline.unet.register_forward_pre_hook(lambda module, args: found.append(args[1]))
    maps = Daam(pipeline)(replace(question(), concepts=tuple(Concept(w, w) for w in ("tree", "sun")), labels=(1, None)))
    assert maps.shape == (2, 64, 64) and float(maps.min()) >= 0 and float(maps.max()) <= 1
    assert float(maps[0].std()) > 0 and not torch.equal(maps[0], maps[1])
    assert [int(time) for time in found] == [int(pipeline.scheduler.timesteps[-1])]
    assert count_hooks(pipeline.unet) == before


@torch.no_grad()
def test_daam_shows_sdxl_what_its_pipeline_shows_it() -> None:
    """The penultimate states of both text encoders, the second's pooled text, and the sizes; maps by hand."""
    pipeline, seen = tiny_sdxl(), []
    attended: list[Any] = []  # calls of the cross-attentions
    pipeline.unet.register_forward_pre_hook(lambda _, args, given: seen.append((args, given)), with_kwargs=True)
    for name, module in pipeline.unet.named_modules():
        if name.endswith("attn2"):
            module.register_forward_pre_hook(lambda *call: attended.append(call), with_kwargs=True)
    words = ("tree", "sun")
    asked = replace(question(), concepts=tuple(Concept(word, word) for word in words), labels=(1, None))
    maps = Daam(pipeline)(asked)

    ((_, time), given) = seen[0]
    assert len(seen) == 1 and float(time) == float(pipeline.scheduler.timesteps[49])
    prompt, spans = prompt_of(pipeline.tokenizer, words)
    ids = pipeline.tokenizer(prompt, padding="max_length", return_tensors="pt").input_ids
    one, other = (
        encoder(ids, output_hidden_states=True) for encoder in (pipeline.text_encoder, pipeline.text_encoder_2)
    )
    states = torch.cat([one.hidden_states[-2], other.hidden_states[-2]], dim=-1)
    assert torch.allclose(given["encoder_hidden_states"], states, atol=1e-5)
    assert torch.allclose(given["added_cond_kwargs"]["text_embeds"], other.text_embeds, atol=1e-5)
    assert given["added_cond_kwargs"]["time_ids"].tolist() == [[512, 512, 0, 0, 512, 512]]

    expected = []
    for call in attended:
        weights = weights_by_hand(*call)
        side = round(len(weights) ** 0.5)
        each = torch.stack([weights[:, span].mean(1).view(side, side) for span in spans])
        expected.append(torch.nn.functional.interpolate(each[None], (64, 64), mode="bicubic")[0].clamp(0, 1))
    assert len(expected) == 3 and torch.allclose(maps, torch.stack(expected).mean(0), atol=1e-5)
    assert float(maps[0].std()) > 0 and not torch.equal(maps[0], maps[1])


def weights_by_hand(attention: Any, args: Any, given: Any) -> torch.Tensor:
    """diffusers' own weights of a cross-attention, (N, tokens), the mean over heads."""
    text = given["encoder_hidden_states"]
    query, key = (attention.head_to_batch_dim(one) for one in (attention.to_q(args[0]), attention.to_k(text)))
    return attention.get_attention_scores(query, key).mean(0)


def count_hooks(module: torch.nn.Module) -> int:
    return sum(len(one._forward_hooks) for one in module.modules())


def tiny_stable_diffusion() -> Any:
    """Random weights but for the landscape model's tokenizer and text encoder."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    texts = load_pipeline("tiny", device="cpu")
    width = texts.text_encoder.config.hidden_size
    blocks = {"block_out_channels": (8, 8), "norm_num_groups": 2, "layers_per_block": 1}
    unet = UNet2DConditionModel(
        in_channels=4, out_channels=4, cross_attention_dim=width, attention_head_dim=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **blocks,
    )  # fmt: skip
    down, up = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    vae = AutoencoderKL(
        block_out_channels=(4, 4, 4, 4), norm_num_groups=2, layers_per_block=1, latent_channels=4,
        down_block_types=down, up_block_types=up,
    )  # fmt: skip
    scheduler = DDIMScheduler(clip_sample=False, steps_offset=1)
    return StableDiffusionPipeline(
        vae, texts.text_encoder, texts.tokenizer, unet, scheduler, None, None, requires_safety_checker=False
    )


def tiny_sdxl() -> Any:
    """Random weights but for the landscape model's tokenizer and first text encoder."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    small = tiny_stable_diffusion()
    config = CLIPTextConfig(
        vocab_size=len(small.tokenizer.get_vocab()), hidden_size=24, intermediate_size=16, num_hidden_layers=3,
        num_attention_heads=2, projection_dim=12, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        in_channels=4, out_channels=4, attention_head_dim=2, layers_per_block=1, norm_num_groups=2,
        cross_attention_dim=small.text_encoder.config.hidden_size + 24, block_out_channels=(8, 8),
        transformer_layers_per_block=1, addition_embed_type="text_time", addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=12 + 6 * 4, mid_block_type=None,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    second = CLIPTextModelWithProjection(config).eval()
    parts = (small.text_encoder, second, small.tokenizer, small.tokenizer)
    return StableDiffusionXLPipeline(small.vae, *parts, unet.eval(), EulerDiscreteScheduler())


@pytest.mark.parametrize("name", ["dino", "daam", "sam3"])
def test_weights_that_are_not_here_are_not_downloaded(name: str) -> None:
    with pytest.raises(UserError, match="hf download nobody/model"):
        open_baseline(name, "nobody/model", "cpu")
