"""Small random text encoders, tokenizers and autoencoders, of the classes that pipelines of diffusers are made of."""

from __future__ import annotations

from typing import Any

from .tiny_transformers import TEXT_WIDTH, fill

CHAT = (
    "{% for one in messages %}<|im_start|> {{ one.role }} {{ one.content }} <|im_end|>{% endfor %}"
    "<|im_start|> assistant"
)
CHAT_OF_PARTS = CHAT.replace("one.content", "one.content[0].text")
WIDTH, HEADS = TEXT_WIDTH, 2


def make_words(random_pipeline: Any, template: str = CHAT, side: str = "right", start: bool = False) -> Any:
    """A tokenizer with a token for each word of the landscape model and each mark of a chat template.

    With `start`, a text begins with a token of its own.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    marks = ["<pad>", "<unk>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    words = [*marks, "user", "assistant", *sorted(w for w in random_pipeline.tokenizer_2.get_vocab() if w.isalpha())]
    words = list(dict.fromkeys(words))
    made = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=marks[1]))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if start:
        made.post_processor = processors.TemplateProcessing("user $A", special_tokens=[("user", words.index("user"))])
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token=marks[0],
        unk_token=marks[1],
        eos_token=marks[3],
        additional_special_tokens=marks[2:],
        padding_side=side,
        chat_template=template,
        model_max_length=64,
    )


def count_words(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False).input_ids)


def language(width: int = WIDTH, layers: int = 2, words: int = 200) -> dict[str, Any]:
    """Sizes of a small language model."""
    return {
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "head_dim": 16,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": None,
        "max_position_embeddings": 256,
    }


def make_language_model(kind: str, **sizes: Any) -> Any:
    """Such as `Qwen3Model`, `Gemma2Model`, `LlamaForCausalLM`."""
    import transformers

    model = getattr(transformers, kind)
    config = {**language(**sizes), "attn_implementation": "eager"}
    return fill(model(model.config_class(**config)))


def make_qwen2_vl(kind: str, **sizes: Any) -> Any:
    """`Qwen2_5_VLForConditionalGeneration`, `Qwen2VLForConditionalGeneration`, with an eye that nothing is shown."""
    import transformers

    model = getattr(transformers, kind)
    text = language(**sizes)
    turns = {"type": "default", "rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
    text = {**text, "rope_scaling": turns, "rope_parameters": turns}
    text["head_dim"] = text["hidden_size"] // HEADS
    section = text["head_dim"] // 2
    turns["mrope_section"] = [section - 2 * (section // 3), section // 3, section // 3]
    eye = {"depth": 1, "hidden_size": 16, "embed_dim": 16, "intermediate_size": 16, "num_heads": 2}
    eye |= {"out_hidden_size": text["hidden_size"], "fullatt_block_indexes": [0]}
    config = model.config_class(text_config=text, vision_config=eye)
    return fill(model(config))


def make_qwen3_vl(kind: str, **sizes: Any) -> Any:
    """`Qwen3VLModel` or `Qwen3VLForConditionalGeneration`, with an eye that nothing is shown."""
    import transformers

    model = getattr(transformers, kind)
    turns = {"rope_type": "default", "mrope_section": [4, 2, 2], "rope_theta": 1e4}
    text = {**language(**sizes), "rope_scaling": turns, "rope_parameters": turns}
    eye = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "deepstack_visual_indexes": [0]}
    eye |= {"out_hidden_size": text["hidden_size"], "num_position_embeddings": 16}
    return fill(model(model.config_class(text_config=text, vision_config=eye)))


def make_t5gemma2() -> Any:
    from transformers import T5Gemma2Encoder, T5Gemma2EncoderConfig

    eye = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**language(), "layer_types": ["full_attention"] * 2}
    config = T5Gemma2EncoderConfig(text_config=text, vision_config={**eye, "image_size": 28, "patch_size": 14})
    config.text_config.dropout_rate = 0.0
    return fill(T5Gemma2Encoder(config, eoi_token_index=199))


def make_t5(words: int, width: int) -> Any:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(vocab_size=words, d_model=width, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    return fill(T5EncoderModel(config))


def _moments(channels: int) -> dict[str, Any]:
    """Mean and deviation of latents, other ones for each channel."""
    return {
        "latents_mean": [0.1 * (number + 1) for number in range(channels)],
        "latents_std": [0.5 + 0.25 * number for number in range(channels)],
    }


def make_qwen_vae() -> Any:
    from diffusers import AutoencoderKLQwenImage

    return fill(AutoencoderKLQwenImage(base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, **_moments(4)))


def make_wan_vae() -> Any:
    from diffusers import AutoencoderKLWan

    return fill(AutoencoderKLWan(base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, **_moments(4)))


def make_flux2_vae() -> Any:
    from diffusers import AutoencoderKLFlux2

    vae = fill(
        AutoencoderKLFlux2(
            block_out_channels=(4, 4, 4, 4), latent_channels=4, norm_num_groups=2, layers_per_block=1, sample_size=64
        )
    )
    channels = vae.bn.running_mean.numel()
    vae.bn.running_mean.copy_(0.1 * vae.bn.running_mean.new_tensor(range(channels)))
    vae.bn.running_var.copy_(1 + 0.5 * vae.bn.running_var.new_tensor(range(channels)))
    return vae


def make_hunyuan_image_vae() -> Any:
    """Its latent pixels are as large as 16 pixels."""
    from diffusers import AutoencoderKLHunyuanImage

    return fill(
        AutoencoderKLHunyuanImage(
            in_channels=3,
            out_channels=3,
            latent_channels=4,
            block_out_channels=(32, 32, 32, 32, 32),
            layers_per_block=1,
            spatial_compression_ratio=16,
            sample_size=64,
            scaling_factor=0.75,
        )
    )


def make_hunyuan_video_vae() -> Any:
    from diffusers import AutoencoderKLHunyuanVideo

    return fill(
        AutoencoderKLHunyuanVideo(
            latent_channels=4, block_out_channels=(4, 4, 4, 4), layers_per_block=1, norm_num_groups=2
        )
    )


def make_hunyuan_video15_vae() -> Any:
    """Its latent pixels are as large as 16 pixels."""
    from diffusers import AutoencoderKLHunyuanVideo15

    return fill(AutoencoderKLHunyuanVideo15(latent_channels=4, block_out_channels=(8, 8, 8, 8, 8), layers_per_block=1))


def make_mochi_vae() -> Any:
    from diffusers import AutoencoderKLMochi

    return fill(
        AutoencoderKLMochi(
            encoder_block_out_channels=(32, 32, 32, 32),
            decoder_block_out_channels=(32, 32, 32, 32),
            layers_per_block=(1, 1, 1, 1, 1),
        )
    )


def make_magvit_vae() -> Any:
    from diffusers import AutoencoderKLMagvit

    return fill(
        AutoencoderKLMagvit(latent_channels=4, block_out_channels=(4, 4, 4, 4), layers_per_block=1, norm_num_groups=2)
    )


def make_minimax_h3_vae() -> Any:
    """Its latent pixels are as large as 4 pixels; its chunks of 17 frames are the real one's."""
    from diffusers import AutoencoderKLMiniMaxH3

    sizes = {"spatial_downsample_factors": (2, 2), "temporal_downsample_factors": (2, 2), "norm_num_groups": 2}
    decoder = {"num_layers": 1, "num_attention_heads": 2, "attention_head_dim": 8, "num_register_tokens": 1}
    return fill(
        AutoencoderKLMiniMaxH3(
            latent_channels=4,
            block_out_channels=(4, 4),
            layers_per_block=1,
            **sizes,
            **{f"decoder_{name}": value for name, value in decoder.items()},
            **_moments(4),
        )
    )


def make_minimax_h3_audio_vae(channels: int) -> Any:
    from diffusers import AutoencoderKLMiniMaxH3Audio

    return fill(
        AutoencoderKLMiniMaxH3Audio(
            encoder_dim=2,
            encoder_rates=(2, 2),
            latent_dim=4 * channels,
            latent_channels=channels,
            num_attention_heads=1,
            decoder_dim=8,
            decoder_rates=(2, 2),
            decoder_kernel_sizes=(4, 4),
            resblock_kernel_sizes=(3,),
            resblock_dilation_sizes=((1, 1, 1),),
            **_moments(channels),
        )
    )


class Processor:
    """A processor of texts alone: what Qwen3-VL's does with them, which needs more packages to be made."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def apply_chat_template(self, messages: Any, **options: Any) -> Any:
        return self.tokenizer.apply_chat_template(messages, **options)

    def create_mm_token_type_ids(self, rows: list[list[int]]) -> list[list[int]]:
        return [[0] * len(row) for row in rows]


def remade(transformer: Any, **changes: Any) -> Any:
    """A transformer of the same class with another configuration."""
    config = {name: value for name, value in transformer.config.items() if not name.startswith("_")}
    return fill(type(transformer)(**{**config, **changes}))


def moved_start(pipeline: Any, text: str) -> None:
    """Let a pipeline drop the tokens of this text, the beginning of its template: words have one token each here."""
    pipeline.prompt_template_encode_start_idx = count_words(pipeline.tokenizer, text)
