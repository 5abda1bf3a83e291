"""The families whose pipelines are all run in the same way, see `other.py`, by the classes of their adapters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .cosmos import CosmosFamily
from .family import PipelineFamily
from .hunyuan_dit import HunyuanDiTFamily
from .kandinsky5 import Kandinsky5Family, nearest_resolution
from .latents import (
    Latents,
    as_items,
    as_tokens,
    before_channels,
    behind_text,
    channels_last,
    in_a_list,
    in_tokens,
    unpatched,
)
from .latte import LatteFamily
from .minimax_h3 import MiniMaxH3Family
from .modular import ModularFamily
from .other import OtherFamily
from .sana import SanaFamily


def same_area(pipeline: Any, width: int, height: int) -> tuple[int, int]:
    """The size that HiDream makes: of the asked shape, and always about as large."""
    unit, own = 2 * pipeline.vae_scale_factor, pipeline.default_sample_size * pipeline.vae_scale_factor
    scale = math.sqrt(own * own / (width * height))
    return int(width * scale // unit * unit), int(height * scale // unit * unit)


def nearest_bucket(pipeline: Any, width: int, height: int) -> tuple[int, int]:
    """The size that JoyImage makes: one of a list, of about the asked shape."""
    rows, columns = pipeline.vae_image_processor.get_default_height_width(None, height, width)
    return columns, rows


TOKENS = Latents(in_tokens)
OTHERS: Mapping[str, PipelineFamily] = {
    "QwenImage": OtherFamily(
        "Qwen-Image",
        ("QwenImagePipeline",),
        {"qwen-image": "Qwen/Qwen-Image"},
        latents=Latents(in_tokens, frames=True),
    ),
    "ZImage": OtherFamily(
        "Z-Image",
        ("ZImagePipeline",),
        {"z-image-turbo": "Tongyi-MAI/Z-Image-Turbo"},
        guidance_in_batch=True,
        prompt_first=True,
        off=0.0,
        usual={"num_inference_steps": 9, "guidance_scale": 0.0},  # of Turbo
        latents=Latents(in_a_list),
    ),
    "Lumina2": OtherFamily("Lumina 2", ("Lumina2Pipeline",), {"lumina-2": "Alpha-VLLM/Lumina-Image-2.0"}),
    "Krea2": OtherFamily("Krea 2", ("Krea2Pipeline",), off=0.0, latents=Latents(in_tokens, frames=True)),
    "Chroma": OtherFamily("Chroma", ("ChromaPipeline",), {"chroma": "lodestones/Chroma1-HD"}, latents=TOKENS),
    "LongCatImage": OtherFamily(
        "LongCat-Image",
        ("LongCatImagePipeline",),
        {"longcat-image": "meituan-longcat/LongCat-Image"},
        always={"enable_prompt_rewrite": False},  # a prompt is what the user wrote
        latents=TOKENS,
    ),
    "OvisImage": OtherFamily(
        "Ovis-Image", ("OvisImagePipeline",), {"ovis-image": "AIDC-AI/Ovis-Image-7B"}, latents=TOKENS
    ),
    "Bria": OtherFamily(
        "Bria",
        ("BriaPipeline",),
        {"bria": "briaai/BRIA-3.2"},
        guidance_in_batch=True,
        latents=Latents(in_tokens, pixels=1),
    ),
    "AuraFlow": OtherFamily("AuraFlow", ("AuraFlowPipeline",), {"auraflow": "fal/AuraFlow"}, guidance_in_batch=True),
    "HiDream": OtherFamily(
        "HiDream-I1",
        ("HiDreamImagePipeline",),
        {"hidream": "HiDream-ai/HiDream-I1-Full"},
        guidance_in_batch=True,
        made_size=same_area,
    ),
    "ErnieImage": OtherFamily(
        "Ernie-Image",
        ("ErnieImagePipeline",),
        guidance_in_batch=True,
        always={"use_pe": False},  # a prompt is what the user wrote
        latents=Latents(channels="(c p q)"),
    ),
    "Ideogram4": OtherFamily(
        "Ideogram 4",
        ("Ideogram4Pipeline",),
        {"ideogram-4": "ideogram-ai/ideogram-v4"},
        usual={"guidance_scale": 7.0},
        always={"guidance_schedule": None},  # it is for one number of steps
        latents=Latents(behind_text, channels="(p q c)", pixels=2),
    ),
    "JoyImage": OtherFamily(
        "JoyImage",
        ("JoyImageEditPipeline",),
        {"joyimage": "jdopensource/JoyAI-Image-Edit-Diffusers"},
        latents=Latents(as_items, frames=True),
        made_size=nearest_bucket,
    ),
    "HunyuanImage": OtherFamily("HunyuanImage 2.1", ("HunyuanImagePipeline",), usual={"height": 2048, "width": 2048}),
    "CogView3Plus": OtherFamily(
        "CogView 3 Plus",
        ("CogView3PlusPipeline",),
        {"cogview3-plus": "THUDM/CogView3-Plus-3B"},
        guidance_in_batch=True,
    ),
    "CogView4": OtherFamily("CogView 4", ("CogView4Pipeline",), {"cogview4": "THUDM/CogView4-6B"}),
    "HunyuanVideo": OtherFamily(
        "HunyuanVideo",
        ("HunyuanVideoPipeline",),
        {"hunyuan-video": "hunyuanvideo-community/HunyuanVideo"},
        video=True,
        usual={"frame_rate": 15.0},
    ),
    "HunyuanVideo15": OtherFamily(
        "HunyuanVideo 1.5",
        ("HunyuanVideo15Pipeline",),
        {"hunyuan-video-1.5": "hunyuanvideo-community/HunyuanVideo-1.5-480p_t2v"},
        video=True,
        usual={"height": 480, "width": 848, "frame_rate": 24.0},
        latents=Latents(before_channels),
    ),
    "MotifVideo": OtherFamily(
        "Motif-Video",
        ("MotifVideoPipeline",),
        {"motif-video": "Motif-Technologies/Motif-Video-2B"},
        video=True,
        usual={"frame_rate": 24.0},
        latents=Latents(before_channels),
    ),
    "Mochi": OtherFamily(
        "Mochi",
        ("MochiPipeline",),
        {"mochi": "genmo/mochi-1-preview"},
        guidance_in_batch=True,
        video=True,
        usual={"frame_rate": 30.0},
    ),
    "EasyAnimate": OtherFamily(
        "EasyAnimate",
        ("EasyAnimatePipeline",),
        {"easyanimate": "alibaba-pai/EasyAnimateV5.1-7b-zh-diffusers"},
        guidance_in_batch=True,
        video=True,
    ),
    "LTXVideo": OtherFamily(
        "LTX Video",
        ("LTXPipeline",),
        {"ltx-video": "Lightricks/LTX-Video"},
        video=True,
        guidance_in_batch=True,
        usual={"frame_rate": 25.0},
        latents=Latents(as_tokens),
    ),
    "Flux3": ModularFamily(
        "Flux 3",
        ("Flux3ModularPipeline", "Flux3DistilledModularPipeline"),
        {
            "flux.3-klein": "black-forest-labs/flux-3-image-klein",
            "flux.3-klein-base": "black-forest-labs/flux-3-image-klein-base",
        },
        latents=Latents(as_tokens, channels="(c p q)", pixels=2),
    ),
    "MiniMaxH3": MiniMaxH3Family(),
    "JoyImageEditPlus": OtherFamily("JoyImage Edit Plus", guidance_in_batch=True),
    "Framepack": OtherFamily("HunyuanVideo FramePack", video=True),
    "ConsisID": OtherFamily("ConsisID", guidance_in_batch=True, video=True),
    "Fibo2": OtherFamily(
        "Fibo 2",
        ("BriaFibo2Pipeline",),
        {"fibo-2": "briaai/Fibo-2.0-dev"},
        own_negative=True,
        latents=Latents(unpatched, channels="(c p q)"),
    ),
    "Kandinsky5": Kandinsky5Family(
        "Kandinsky 5",
        ("Kandinsky5T2VPipeline",),
        {"kandinsky-5": "kandinskylab/Kandinsky-5.0-T2V-Lite-sft-5s-Diffusers"},
        video=True,
        own_negative=True,
        usual={"frame_rate": 24.0},
        latents=Latents(channels_last),
    ),
    "Kandinsky5Image": Kandinsky5Family(
        "Kandinsky 5",
        ("Kandinsky5T2IPipeline",),
        {"kandinsky-5-image": "kandinskylab/Kandinsky-5.0-T2I-Lite-sft-Diffusers"},
        latents=Latents(channels_last, unshifted=True),
        made_size=nearest_resolution,
    ),
    "PixArt": OtherFamily(
        "PixArt",
        ("PixArtSigmaPipeline", "PixArtAlphaPipeline"),
        {
            "pixart-alpha": "PixArt-alpha/PixArt-XL-2-1024-MS",
            "pixart-sigma": "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
        },
        guidance_in_batch=True,
        always={"clean_caption": False, "use_resolution_binning": False},  # prompt and size are what the user wrote
    ),
    "HunyuanDiT": HunyuanDiTFamily(),
    "Sana": SanaFamily(
        "Sana",
        ("SanaPipeline",),
        {"sana": "Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers"},
        guidance_in_batch=True,
        always={"use_resolution_binning": False},  # the size is that which is asked for
    ),
    "SanaVideo": SanaFamily(
        "Sana Video",
        ("SanaVideoPipeline",),
        {"sana-video": "Efficient-Large-Model/SANA-Video_2B_480p_diffusers"},
        guidance_in_batch=True,
        video=True,
        usual={"frame_rate": 16.0},
        always={"use_resolution_binning": False},
    ),
    # Recorded only: its autoencoder takes some sizes and numbers of frames, and leaves out parts of all others.
    "Allegro": OtherFamily("Allegro", guidance_in_batch=True, video=True),
    "Latte": LatteFamily(),
    "Cosmos": CosmosFamily("Cosmos", video=True),  # in other pipelines than those below
    "Cosmos1": CosmosFamily(
        "Cosmos",
        ("CosmosTextToWorldPipeline",),
        {"cosmos-1": "nvidia/Cosmos-1.0-Diffusion-7B-Text2World"},
        video=True,
        own_negative=True,
        usual={"frame_rate": 30.0},
    ),
    "CosmosPredict2": CosmosFamily(
        "Cosmos",
        ("Cosmos2TextToImagePipeline",),
        {"cosmos-predict2": "nvidia/Cosmos-Predict2-2B-Text2Image"},
        own_negative=True,
        latents=Latents(frames=True),
    ),
    "CosmosPredict25": CosmosFamily(
        "Cosmos",
        ("Cosmos2_5_PredictBasePipeline",),
        video=True,
        own_negative=True,
        usual={"frame_rate": 16.0},
    ),
}
