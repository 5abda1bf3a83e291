"""Whole pipelines of families whose concepts are read as keys, of small random parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .cross_attention.catalogue import CROSS
from .cross_attention.family import TEXT_WIDTH, CrossFamily
from .cross_parts import (
    ChatGLMTokenizer,
    Guardrail,
    make_cosmos_vae,
    make_dc_vae,
    make_ltx2_audio_vae,
    make_ltx2_vae,
    make_ltx_vae,
    make_unshifted_vae,
    make_vocoder,
)
from .small_pipelines import KLEIN_TEMPLATE, make_chat_tokenizer, make_clip, make_vae
from .tiny_parts import (
    CHAT_OF_PARTS,
    count_words,
    make_flux2_vae,
    make_hunyuan_video_vae,
    make_language_model,
    make_qwen2_vl,
    make_wan_vae,
    make_words,
)
from .tiny_transformers import TEXT_WIDTH as T5_WIDTH
from .tiny_transformers import fill
from .whole_pipelines import Whole, scheduler


@dataclass(frozen=True)
class WholeCross(Whole):
    """One family, of `CROSS`.

    Attributes:
        places: among the keys of a prompt, those of its first word.
        more_text: how many keys its image attends to beside those of its text states.
    """

    places: tuple[int, ...] = (0,)
    tokens: int = 32  # a number that the image's tokens never are
    more_text: int = 0

    @property
    def family(self) -> CrossFamily:
        return dataclasses.replace(CROSS[self.kind], text=lambda tokens, image: tokens + self.more_text)

    def transformer(self) -> Any:
        return CROSS[self.kind].make()


def flow_steps(**options: Any) -> Any:
    from diffusers import UniPCMultistepScheduler

    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, **options)


def wan(shared: Any, transformer: Any) -> Any:
    from diffusers import WanPipeline

    return WanPipeline(shared.tokenizer_2, shared.text_encoder_2, make_wan_vae(), flow_steps(), transformer)


def ltx(shared: Any, transformer: Any) -> Any:
    from diffusers import LTXPipeline

    text = shared.text_encoder_2, shared.tokenizer_2
    return LTXPipeline(scheduler(use_dynamic_shifting=True), make_ltx_vae(), *text, transformer)


def ltx2(shared: Any, transformer: Any) -> Any:
    from diffusers import LTX2Pipeline
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors

    newer = transformer.config.cross_attn_mod
    sizes = {"video_connector_attention_head_dim": 24, "audio_connector_attention_head_dim": 8 if newer else 24}
    sizes |= {f"{one}_connector_num_attention_heads": 2 for one in ("video", "audio")}
    sizes |= {f"{one}_connector_num_layers": 1 for one in ("video", "audio")}
    sizes |= {f"{one}_connector_num_learnable_registers": 8 for one in ("video", "audio")}
    projections = {"per_modality_projections": True, "video_hidden_dim": TEXT_WIDTH, "audio_hidden_dim": 16}
    width = 24 if newer else TEXT_WIDTH
    connectors = LTX2TextConnectors(
        caption_channels=width, text_proj_in_factor=2, **sizes, **(projections if newer else {})
    )
    tokenizer = make_chat_tokenizer(shared, KLEIN_TEMPLATE, "left")
    encoder = make_language_model("Gemma3ForCausalLM", width=width, layers=1)
    parts = make_ltx2_vae(), make_ltx2_audio_vae(), encoder, tokenizer, fill(connectors), transformer, make_vocoder()
    return LTX2Pipeline(scheduler(use_dynamic_shifting=True), *parts)


def _kandinsky5(shared: Any, transformer: Any, vae: Any, kind: str) -> Any:
    import diffusers
    from transformers import CLIPTextModel

    words, encoder = make_words(shared), make_qwen2_vl("Qwen2_5_VLForConditionalGeneration", width=TEXT_WIDTH)
    clip = fill(CLIPTextModel(make_clip(len(shared.tokenizer.get_vocab()), 20, 1).config))
    parts = encoder, words, clip, shared.tokenizer, scheduler()
    pipeline = getattr(diffusers, kind)(transformer, vae, *parts)
    start = count_words(words, pipeline.prompt_template.split("{}")[0])
    pipeline.prompt_template_encode_start_idx = start
    return pipeline


def kandinsky5(shared: Any, transformer: Any) -> Any:
    return _kandinsky5(shared, transformer, make_hunyuan_video_vae(), "Kandinsky5T2VPipeline")


def kandinsky5_image(shared: Any, transformer: Any) -> Any:
    pipeline = _kandinsky5(shared, transformer, make_vae(), "Kandinsky5T2IPipeline")
    pipeline.resolutions = [(64, 64), (64, 48)]
    return pipeline


def kolors(shared: Any, transformer: Any) -> Any:
    from diffusers import EulerDiscreteScheduler, KolorsPipeline
    from diffusers.pipelines.kolors import ChatGLMModel
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig

    words = make_words(shared, side="left", start=True)
    sizes = {"num_layers": 2, "hidden_size": 40, "ffn_hidden_size": 32, "kv_channels": 20, "num_attention_heads": 2}
    sizes |= {"original_rope": True, "use_cache": False}
    encoder = fill(
        ChatGLMModel(ChatGLMConfig(padded_vocab_size=len(words.get_vocab()), seq_length=64, **sizes)).float()
    )
    return KolorsPipeline(make_unshifted_vae(), encoder, ChatGLMTokenizer(words), transformer, EulerDiscreteScheduler())


def pixart(shared: Any, transformer: Any) -> Any:
    from diffusers import DPMSolverMultistepScheduler, PixArtAlphaPipeline

    parts = make_unshifted_vae(), transformer, DPMSolverMultistepScheduler()
    return PixArtAlphaPipeline(shared.tokenizer_2, shared.text_encoder_2, *parts)


def hunyuan_dit(shared: Any, transformer: Any) -> Any:
    from diffusers import DDPMScheduler, HunyuanDiTPipeline
    from transformers import BertConfig, BertModel

    words = shared.tokenizer
    sizes = {"hidden_size": TEXT_WIDTH, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    bert = fill(BertModel(BertConfig(vocab_size=len(words.get_vocab()), **sizes)))
    parts = make_unshifted_vae(), bert, words, transformer, DDPMScheduler(), None, None, False
    return HunyuanDiTPipeline(*parts, text_encoder_2=shared.text_encoder_2, tokenizer_2=shared.tokenizer_2)


def _sana(shared: Any, transformer: Any, vae: Any, kind: str) -> Any:
    import diffusers

    words = make_words(shared, start=True)
    encoder = make_language_model("Gemma2Model", width=TEXT_WIDTH)
    return getattr(diffusers, kind)(words, encoder, vae, transformer, flow_steps())


def sana(shared: Any, transformer: Any) -> Any:
    return _sana(shared, transformer, make_dc_vae(), "SanaPipeline")


def sana_video(shared: Any, transformer: Any) -> Any:
    return _sana(shared, transformer, make_wan_vae(), "SanaVideoPipeline")


def latte(shared: Any, transformer: Any) -> Any:
    from diffusers import DDIMScheduler, LattePipeline

    text = shared.tokenizer_2, shared.text_encoder_2
    return LattePipeline(*text, make_unshifted_vae(), transformer, DDIMScheduler())


def cosmos1(shared: Any, transformer: Any) -> Any:
    from diffusers import CosmosTextToWorldPipeline, EDMEulerScheduler

    steps = EDMEulerScheduler(sigma_min=0.002, sigma_max=80, sigma_data=0.5, final_sigmas_type="sigma_min")
    text = shared.text_encoder_2, shared.tokenizer_2
    return CosmosTextToWorldPipeline(*text, transformer, make_cosmos_vae(), steps, Guardrail())


def cosmos_predict2(shared: Any, transformer: Any) -> Any:
    from diffusers import Cosmos2TextToImagePipeline, FlowMatchEulerDiscreteScheduler

    steps = FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True)
    text = shared.text_encoder_2, shared.tokenizer_2
    return Cosmos2TextToImagePipeline(*text, transformer, make_wan_vae(), steps, Guardrail())


def cosmos_predict25(shared: Any, transformer: Any) -> Any:
    from diffusers import Cosmos2_5_PredictBasePipeline

    words = make_words(shared, CHAT_OF_PARTS)
    encoder = make_qwen2_vl("Qwen2_5_VLForConditionalGeneration", width=TEXT_WIDTH // 2)
    return Cosmos2_5_PredictBasePipeline(encoder, words, transformer, make_wan_vae(), flow_steps(), Guardrail())


def fibo2(shared: Any, transformer: Any) -> Any:
    from diffusers import BriaFibo2Pipeline

    tokenizer = make_chat_tokenizer(shared, KLEIN_TEMPLATE, "right")
    encoder = make_language_model("Qwen3ForCausalLM", width=TEXT_WIDTH // 2, layers=3)
    pipeline = BriaFibo2Pipeline(transformer, scheduler(use_dynamic_shifting=True), make_flux2_vae(), encoder, None)
    pipeline.processor = lambda text, images, **options: tokenizer(text, **options)
    pipeline.processor.tokenizer = tokenizer
    pipeline.prompt_template_encode = "<start> user {} <end> <line>"
    pipeline.text_encoder_out_layers = ((0, 1), (1, 2), (2, 3))
    return pipeline


OWN_NEGATIVE = {"guidance_scale": 3.0}  # what is guided away from is the pipeline's own
SIZE = {"use_resolution_binning": False}
TEXT = {"caption_channels": T5_WIDTH}
WHOLE_CROSS: Mapping[str, WholeCross] = {
    "Wan": WholeCross(wan, "Wan", {"text_dim": T5_WIDTH}, frames=5),
    "LTX Video": WholeCross(ltx, "LTX Video", TEXT, unit=32, frames=9),
    "LTX-2": WholeCross(ltx2, "LTX-2", unit=32, frames=9),
    "LTX-2.3": WholeCross(ltx2, "LTX-2.3", unit=32, frames=9),
    "Fibo 2": WholeCross(fibo2, "Fibo 2", guided=OWN_NEGATIVE, places=(2,)),
    "Kandinsky 5": WholeCross(kandinsky5, "Kandinsky 5", {"visual_cond": True}, frames=5, guided=OWN_NEGATIVE),
    "Kandinsky 5 Image": WholeCross(kandinsky5_image, "Kandinsky 5"),
    "Kolors": WholeCross(
        kolors,
        "Kolors",
        {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 4,
            "projection_class_embeddings_input_dim": 6 * 4 + 40,
        },
        places=(255,),
        tokens=256,  # whatever is asked for
    ),
    "PixArt": WholeCross(
        pixart,
        "PixArt",
        {**TEXT, "sample_size": 128, "attention_head_dim": 12, "cross_attention_dim": 24},
        own={**SIZE, "clean_caption": False},
    ),
    "HunyuanDiT": WholeCross(
        hunyuan_dit,
        "HunyuanDiT",
        {"text_len": 77, "text_len_t5": 256, "cross_attention_dim_t5": T5_WIDTH},
        own=SIZE,
        places=(1, 77),
        more_text=256,
    ),
    "Sana": WholeCross(sana, "Sana", unit=32, own=SIZE, places=(2,)),
    "Sana Video": WholeCross(
        sana_video, "Sana Video", {"patch_size": (1, 4, 4)}, unit=32, frames=5, own=SIZE, places=(2,)
    ),
    "Latte": WholeCross(latte, "Latte", TEXT, frames=3, own={"clean_caption": False}),
    "Cosmos 1": WholeCross(
        cosmos1,
        "Cosmos 1",
        {"text_embed_dim": T5_WIDTH},
        frames=9,
        guided=OWN_NEGATIVE,
    ),
    "Cosmos Predict 2": WholeCross(
        cosmos_predict2,
        "Cosmos Predict2",
        {"text_embed_dim": T5_WIDTH},
        guided=OWN_NEGATIVE,
    ),
    "Cosmos Predict 2.5": WholeCross(
        cosmos_predict25,
        "Cosmos Predict2.5",
        {"in_channels": 5},
        frames=5,
        guided=OWN_NEGATIVE,
        places=(18,),
    ),
}
