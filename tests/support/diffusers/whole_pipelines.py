"""Whole pipelines of the families in `others.py`, of small random parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .own_blocks.catalogue import OWN_BLOCKS
from .small_pipelines import KLEIN_TEMPLATE, make_chat_tokenizer, make_clip, make_vae
from .tiny_parts import (
    CHAT_OF_PARTS,
    Processor,
    count_words,
    make_flux2_vae,
    make_hunyuan_image_vae,
    make_hunyuan_video15_vae,
    make_hunyuan_video_vae,
    make_language_model,
    make_magvit_vae,
    make_minimax_h3_audio_vae,
    make_minimax_h3_vae,
    make_mochi_vae,
    make_qwen2_vl,
    make_qwen3_vl,
    make_qwen_vae,
    make_t5,
    make_t5gemma2,
    make_wan_vae,
    make_words,
    moved_start,
    remade,
)
from .tiny_transformers import TEXT_WIDTH


@dataclass(frozen=True)
class Whole:
    """One family.

    Attributes:
        make: the pipeline, of the parts that are shared and a transformer.
        kind: name of its transformer in `OWN_BLOCKS`.
        changes: of that transformer's configuration.
        unit: pixels along a side of a token.
        frames: of a video.
        batch: most prompts of a call.
        tokens: length of a prompt.
        guided: arguments of a call with guidance of 3.
        own: arguments that `generate` always gives.
    """

    make: Callable[[Any, Any], Any]
    kind: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    unit: int = 16
    frames: int = 1
    batch: int = 2
    tokens: int = 24
    guided: Mapping[str, Any] = field(default_factory=lambda: {"guidance_scale": 3.0, "negative_prompt": ["", ""]})
    own: Mapping[str, Any] = field(default_factory=dict)

    def transformer(self) -> Any:
        return OWN_BLOCKS[self.kind].make()

    def build(self, random_pipeline: Any) -> Any:
        transformer = self.transformer()
        transformer = remade(transformer, **self.changes) if self.changes else transformer
        pipeline = self.make(random_pipeline, transformer)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


def scheduler(**options: Any) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(shift=3.0, **options)


def qwen_image(shared: Any, transformer: Any) -> Any:
    from diffusers import QwenImagePipeline

    words = make_words(shared)
    encoder = make_qwen2_vl("Qwen2_5_VLForConditionalGeneration")
    pipeline = QwenImagePipeline(scheduler(), make_qwen_vae(), encoder, words, transformer)
    moved_start(pipeline, pipeline.prompt_template_encode.split("{}")[0])
    return pipeline


def z_image(shared: Any, transformer: Any) -> Any:
    from diffusers import ZImagePipeline

    encoder = make_language_model("Qwen3ForCausalLM")
    tokenizer = make_chat_tokenizer(shared, KLEIN_TEMPLATE, "right")
    return ZImagePipeline(scheduler(), make_vae(), encoder, tokenizer, transformer)


def lumina2(shared: Any, transformer: Any) -> Any:
    from diffusers import Lumina2Pipeline

    encoder = make_language_model("Gemma2Model")
    pipeline = Lumina2Pipeline(transformer, scheduler(), make_vae(), encoder, make_words(shared, start=True))
    pipeline.system_prompt = "a"
    return pipeline


def krea2(shared: Any, transformer: Any) -> Any:
    from diffusers import Krea2Pipeline

    encoder = make_qwen3_vl("Qwen3VLModel", width=TEXT_WIDTH // 2, layers=3)
    pipeline = Krea2Pipeline(
        scheduler(), make_qwen_vae(), encoder, make_words(shared), transformer, text_encoder_select_layers=(1, 2)
    )
    moved_start(pipeline, pipeline.prompt_template_encode_prefix)
    suffix = count_words(pipeline.tokenizer, pipeline.prompt_template_encode_suffix)
    pipeline.prompt_template_encode_num_suffix_tokens = suffix
    return pipeline


def chroma(shared: Any, transformer: Any) -> Any:
    from diffusers import ChromaPipeline

    return ChromaPipeline(scheduler(), make_vae(), shared.text_encoder_2, shared.tokenizer_2, transformer)


def longcat_image(shared: Any, transformer: Any) -> Any:
    from diffusers import LongCatImagePipeline

    words = make_words(shared)
    encoder = make_qwen2_vl("Qwen2_5_VLForConditionalGeneration")
    pipeline = LongCatImagePipeline(scheduler(), make_vae(16), encoder, words, words, transformer)
    pipeline.tokenizer_max_length = 24
    return pipeline


def ovis_image(shared: Any, transformer: Any) -> Any:
    from diffusers import OvisImagePipeline

    words, encoder = make_words(shared), make_language_model("Qwen3Model")
    pipeline = OvisImagePipeline(scheduler(), make_vae(), encoder, words, transformer)
    pipeline.user_prompt_begin_id = count_words(words, f"<|im_start|> user {pipeline.system_prompt}")
    return pipeline


def bria(shared: Any, transformer: Any) -> Any:
    from diffusers import BriaPipeline

    parts = scheduler(), make_vae(), shared.text_encoder_2, shared.tokenizer_2
    return BriaPipeline(transformer, *parts)


def auraflow(shared: Any, transformer: Any) -> Any:
    from diffusers import AuraFlowPipeline

    return AuraFlowPipeline(shared.tokenizer_2, shared.text_encoder_2, make_vae(), transformer, scheduler())


def hidream(shared: Any, transformer: Any) -> Any:
    from diffusers import HiDreamImagePipeline

    words, clip = make_words(shared), shared.tokenizer
    count = len(clip.get_vocab())
    pipeline = HiDreamImagePipeline(
        scheduler(),
        make_vae(),
        make_clip(count, 8, 1),
        clip,
        make_clip(count, 12, 2),
        clip,
        shared.text_encoder_2,
        shared.tokenizer_2,
        make_language_model("LlamaForCausalLM", width=24),
        words,
        transformer,
    )
    pipeline.default_sample_size = 7  # 56 pixels: about 48 x 64 in all
    return pipeline


def ernie_image(shared: Any, transformer: Any) -> Any:
    from diffusers import ErnieImagePipeline

    encoder = make_language_model("MistralModel")
    return ErnieImagePipeline(transformer, make_flux2_vae(), encoder, make_words(shared, start=True), scheduler())


def ideogram4(shared: Any, transformer: Any) -> Any:
    from diffusers import Ideogram4Pipeline

    encoder = make_qwen3_vl("Qwen3VLModel", width=16, layers=36)
    words, other = make_words(shared, CHAT_OF_PARTS), remade(transformer)
    return Ideogram4Pipeline(scheduler(), make_flux2_vae(), encoder, words, transformer, other)


def joyimage(shared: Any, transformer: Any) -> Any:
    from diffusers import JoyImageEditPipeline

    words = make_words(shared)
    encoder = make_qwen3_vl("Qwen3VLForConditionalGeneration")
    pipeline = JoyImageEditPipeline(scheduler(), make_wan_vae(), encoder, words, transformer, words)
    start = count_words(words, pipeline.prompt_template_encode["image"].split("{}")[0])
    pipeline.prompt_template_encode_start_idx = {"image": start, "multiple_images": start}
    pipeline.vae_image_processor.get_default_height_width = lambda image, height=None, width=None: (48, 64)
    return pipeline


def hunyuan_image(shared: Any, transformer: Any) -> Any:
    from diffusers import HunyuanImagePipeline

    words, encoder = make_words(shared), make_qwen2_vl("Qwen2_5_VLForConditionalGeneration", layers=3)
    glyphs = make_t5(40, 12)
    pipeline = HunyuanImagePipeline(
        scheduler(), make_hunyuan_image_vae(), encoder, words, glyphs, shared.tokenizer_2, transformer
    )
    pipeline.tokenizer_max_length, pipeline.tokenizer_2_max_length = 24, 4
    moved_start(pipeline, pipeline.prompt_template_encode.split("{}")[0])
    return pipeline


def cogview3plus(shared: Any, transformer: Any) -> Any:
    from diffusers import CogVideoXDDIMScheduler, CogView3PlusPipeline

    steps = CogVideoXDDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )
    return CogView3PlusPipeline(shared.tokenizer_2, shared.text_encoder_2, make_vae(), transformer, steps)


def cogview4(shared: Any, transformer: Any) -> Any:
    from diffusers import CogView4Pipeline

    words, encoder = make_words(shared, side="left", start=True), make_language_model("GlmModel")
    return CogView4Pipeline(words, encoder, make_vae(), transformer, scheduler(use_dynamic_shifting=True))


def hunyuan_video(shared: Any, transformer: Any) -> Any:
    from diffusers import HunyuanVideoPipeline
    from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE as OWN

    words, encoder = make_words(shared), make_language_model("LlamaModel", layers=3)
    clip = make_clip(len(shared.tokenizer.get_vocab()), 8, 1)
    OWN["crop_start"] = count_words(words, OWN["template"].split("{}")[0])
    parts = transformer, make_hunyuan_video_vae(), scheduler(), clip.text_model, shared.tokenizer
    return HunyuanVideoPipeline(encoder, words, *parts)


def hunyuan_video15(shared: Any, transformer: Any) -> Any:
    from diffusers import ClassifierFreeGuidance, HunyuanVideo15Pipeline

    words, encoder = make_words(shared), make_language_model("Qwen2Model", layers=3)
    pipeline = HunyuanVideo15Pipeline(
        encoder,
        words,
        transformer,
        make_hunyuan_video15_vae(),
        scheduler(),
        make_t5(40, 12),
        shared.tokenizer_2,
        ClassifierFreeGuidance(guidance_scale=3.0),
    )
    pipeline.system_message = "a"
    pipeline.tokenizer_max_length, pipeline.tokenizer_2_max_length, pipeline.vision_num_semantic_tokens = 24, 4, 2
    pipeline.prompt_template_encode_start_idx = count_words(words, "<|im_start|> system a <|im_end|> <|im_start|> user")
    return pipeline


def motif_video(shared: Any, transformer: Any) -> Any:
    from diffusers import ClassifierFreeGuidance, MotifVideoPipeline

    guider = ClassifierFreeGuidance(guidance_scale=3.0)
    words, encoder = make_words(shared), make_t5gemma2()
    return MotifVideoPipeline(scheduler(), make_wan_vae(), encoder, words, transformer, guider)


def mochi(shared: Any, transformer: Any) -> Any:
    from diffusers import MochiPipeline

    steps = scheduler(invert_sigmas=True)
    return MochiPipeline(steps, make_mochi_vae(), shared.text_encoder_2, shared.tokenizer_2, transformer)


def easyanimate(shared: Any, transformer: Any) -> Any:
    from diffusers import EasyAnimatePipeline

    words, encoder = make_words(shared, CHAT_OF_PARTS), make_qwen2_vl("Qwen2VLForConditionalGeneration")
    return EasyAnimatePipeline(make_magvit_vae(), encoder, words, transformer, scheduler())


def flux3(shared: Any, transformer: Any) -> Any:
    """As those who do not want their prompts to be rewritten make it."""
    from diffusers import ClassifierFreeGuidance, Flux3AutoBlocks

    steps = Flux3AutoBlocks()
    steps.sub_blocks.pop("prompt_upsampler")
    steps.sub_blocks["text_encoder"].pad_multiple = 24
    pipeline = steps.init_pipeline()
    pipeline.update_components(
        text_encoder=make_qwen3_vl("Qwen3VLForConditionalGeneration", width=TEXT_WIDTH // 8, layers=32),
        tokenizer=Processor(make_words(shared)),
        vae=make_flux2_vae(),
        transformer=transformer,
        scheduler=scheduler(),
        guider=ClassifierFreeGuidance(guidance_scale=3.0),
    )
    return pipeline


def minimax_h3(shared: Any, transformer: Any) -> Any:
    """One that makes videos of less than 5 seconds, too."""
    from diffusers import MiniMaxH3Blocks, MiniMaxH3ModularPipeline, MiniMaxH3Scheduler

    class Short(MiniMaxH3ModularPipeline):  # type: ignore[misc, no-any-unimported]
        min_duration = 0.9
        text_encoder_layer = 2

    words = make_words(shared)
    pipeline = Short(MiniMaxH3Blocks())
    pipeline.update_components(
        text_encoder=make_qwen3_vl("Qwen3VLForConditionalGeneration", layers=3),
        tokenizer=words,
        processor=Processor(words),
        vae=make_minimax_h3_vae(),
        audio_vae=make_minimax_h3_audio_vae(6),
        transformer=transformer,
        scheduler=MiniMaxH3Scheduler(shift=12.0),
        audio_scheduler=MiniMaxH3Scheduler(shift=3.0),
    )
    return pipeline


TRUE_CFG = {"true_cfg_scale": 3.0, "negative_prompt": ["", ""]}
WHOLE: Mapping[str, Whole] = {
    "Qwen-Image": Whole(qwen_image, "Qwen-Image", guided=TRUE_CFG),
    "Z-Image": Whole(z_image, "Z-Image", guided={"guidance_scale": 2.0, "negative_prompt": ["", ""]}),
    "Lumina 2": Whole(lumina2, "Lumina 2", {"axes_lens": (64, 16, 16)}),
    "Krea 2": Whole(krea2, "Krea 2", guided={"guidance_scale": 2.0, "negative_prompt": ["", ""]}),
    "Chroma": Whole(chroma, "Chroma"),
    "LongCat-Image": Whole(longcat_image, "LongCat-Image", {"in_channels": 64}, own={"enable_prompt_rewrite": False}),
    "Ovis-Image": Whole(ovis_image, "Ovis-Image", {"out_channels": 16}),
    "Bria": Whole(bria, "Bria"),
    "AuraFlow": Whole(auraflow, "AuraFlow"),
    "HiDream-I1": Whole(hidream, "HiDream-I1"),
    "Ernie-Image": Whole(ernie_image, "Ernie-Image", {"in_channels": 16, "out_channels": 16}, own={"use_pe": False}),
    "Ideogram 4": Whole(
        ideogram4,
        "Ideogram 4",
        {"llm_features_dim": 13 * 16},
        guided={"guidance_scale": 3.0},
        own={"guidance_schedule": None},
    ),
    "JoyImage": Whole(joyimage, "JoyImage"),
    "HunyuanImage 2.1": Whole(
        hunyuan_image, "HunyuanImage 2.1", {"text_embed_2_dim": 12, "guidance_embeds": True}, unit=32, guided={}
    ),
    "CogView 3 Plus": Whole(cogview3plus, "CogView3 Plus"),
    "CogView 4": Whole(cogview4, "CogView4"),
    "HunyuanVideo": Whole(hunyuan_video, "HunyuanVideo", frames=5, guided=TRUE_CFG),
    "HunyuanVideo 1.5": Whole(
        hunyuan_video15,
        "HunyuanVideo 1.5",
        {"in_channels": 9},
        unit=32,
        frames=5,
        batch=1,  # the VAE of diffusers 0.42.1 decodes no more at once
        guided={"negative_prompt": [""]},
    ),
    "Motif-Video": Whole(
        motif_video, "Motif-Video", {"in_channels": 9}, frames=5, guided={"negative_prompt": ["", ""]}
    ),
    "Mochi": Whole(mochi, "Mochi", {"in_channels": 12, "out_channels": 12}, frames=7),
    "EasyAnimate": Whole(easyanimate, "EasyAnimate", frames=5),
    "Flux 3": Whole(flux3, "Flux 3", batch=1, guided={"negative_prompt": ""}),
    "MiniMax-H3": Whole(minimax_h3, "MiniMax-H3", unit=8, frames=22, batch=1, guided={}),
}
