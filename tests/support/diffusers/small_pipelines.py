"""Pipelines around the small random models of `families.py`; text encoders are made in memory, or are Flux 1's."""

from __future__ import annotations

from typing import Any

from .families import FAMILIES
from .tiny_transformers import fill


def make_flux_pipeline(random_pipeline: Any, transformer: Any) -> Any:
    from diffusers import FluxPipeline

    return _quiet(FluxPipeline(**{**random_pipeline.components, "transformer": transformer}))


def make_vae(channels: int = 4) -> Any:
    from diffusers import AutoencoderKL

    return fill(
        AutoencoderKL(
            block_out_channels=(4, 4, 4, 4),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=channels,
            norm_num_groups=2,
            scaling_factor=0.36,
            shift_factor=0.12,
        )
    )


def make_clip(words: int, width: int, seed: int) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=width,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return fill(CLIPTextModelWithProjection(config), seed)


def make_sd3_pipeline(random_pipeline: Any) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline

    tokenizer = random_pipeline.tokenizer
    words = len(tokenizer.get_vocab())
    return _quiet(
        StableDiffusion3Pipeline(
            transformer=FAMILIES["SD3.5 medium"].make(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=make_vae(),
            text_encoder=make_clip(words, 32, 1),
            tokenizer=tokenizer,
            text_encoder_2=make_clip(words, 64, 2),
            tokenizer_2=tokenizer,
            text_encoder_3=random_pipeline.text_encoder_2,
            tokenizer_3=random_pipeline.tokenizer_2,
        )
    )


DEV_TEMPLATE = (
    "{% for one in messages %}{% if one.role == 'system' %}<sys> {{ one.content[0].text }} </sys>"
    "{% else %}<inst> {{ one.content[0].text }} </inst>{% endif %}{% endfor %}"
)
KLEIN_TEMPLATE = (
    "{% for one in messages %}<start> user <line> {{ one.content }} <end> <line> <start> <think>{% endfor %}"
)


def make_chat_tokenizer(random_pipeline: Any, template: str, side: str) -> Any:
    """One token per word, in a chat template."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = [
        "<pad>",
        "<unk>",
        "<sys>",
        "</sys>",
        "<inst>",
        "</inst>",
        "<start>",
        "<line>",
        "<end>",
        "<think>",
        "user",
    ]
    words = [*special, *sorted(word for word in random_pipeline.tokenizer_2.get_vocab() if word.isalpha())]
    made = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=special[1]))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token=special[0], unk_token=special[1], padding_side=side, chat_template=template
    )


def make_flux2_pipeline(random_pipeline: Any, kind: str = "Flux.2 dev", distilled: bool = False) -> Any:
    from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2KleinPipeline, Flux2Pipeline
    from transformers import MistralConfig, MistralForCausalLM, Qwen3Config, Qwen3ForCausalLM

    dev = kind == "Flux.2 dev"
    tokenizer = make_chat_tokenizer(random_pipeline, *((DEV_TEMPLATE, "left") if dev else (KLEIN_TEMPLATE, "right")))
    config, model = (MistralConfig, MistralForCausalLM) if dev else (Qwen3Config, Qwen3ForCausalLM)
    sizes = {
        "vocab_size": len(tokenizer.get_vocab()),
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 30,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    vae = AutoencoderKLFlux2(
        block_out_channels=(4, 4, 4, 4), latent_channels=4, norm_num_groups=2, layers_per_block=1, sample_size=64
    )
    vae = fill(vae)
    vae.bn.running_mean.fill_(0.2)
    vae.bn.running_var.fill_(2.5)
    parts = {
        "transformer": FAMILIES[kind].make(text_width=96),
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        "vae": vae,
        "text_encoder": fill(model(config(**sizes))),
        "tokenizer": tokenizer,
    }
    pipeline = Flux2Pipeline(**parts) if dev else Flux2KleinPipeline(**parts, is_distilled=distilled)
    if dev:
        pipeline.system_message = "look"
    return _quiet(pipeline)


def make_cogvideox_pipeline(random_pipeline: Any, kind: str = "CogVideoX 5B") -> Any:
    from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXPipeline

    vae = AutoencoderKLCogVideoX(
        block_out_channels=(4, 4, 4, 4),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        sample_height=48,
        sample_width=64,
        scaling_factor=0.7,
    )
    return _quiet(
        CogVideoXPipeline(
            transformer=FAMILIES[kind].make(text=24),
            scheduler=CogVideoXDDIMScheduler(
                beta_schedule="scaled_linear",
                beta_start=0.00085,
                beta_end=0.012,
                prediction_type="v_prediction",
                rescale_betas_zero_snr=True,
                set_alpha_to_one=True,
                snr_shift_scale=1.0,
                timestep_spacing="trailing",
            ),
            vae=fill(vae),
            text_encoder=random_pipeline.text_encoder_2,
            tokenizer=random_pipeline.tokenizer_2,
        )
    )


def _quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


PIPELINES = {
    "Flux.2 dev": make_flux2_pipeline,
    "Flux.2 Klein": lambda random_pipeline: make_flux2_pipeline(random_pipeline, "Flux.2 Klein"),
    "SD3.5 medium": make_sd3_pipeline,
    "CogVideoX 5B": make_cogvideox_pipeline,
    "CogVideoX 2B": lambda random_pipeline: make_cogvideox_pipeline(random_pipeline, "CogVideoX 2B"),
    "CogVideoX 1.5": lambda random_pipeline: make_cogvideox_pipeline(random_pipeline, "CogVideoX 1.5"),
}
