"""All families whose own blocks run on the concepts."""

from __future__ import annotations

from collections.abc import Mapping

from .family import OwnBlockFamily
from .lumina import lumina2, z_image, z_image_omni
from .one_stream import ernie_image, ideogram4, krea2
from .two_streams import auraflow, cogview, flux3, flux_like, hidream, joyimage, joyimage_edit_plus, qwen_image
from .videos import consisid, easyanimate, framepack, hunyuan, minimax_h3, mochi, motif_video

OWN_BLOCKS: Mapping[str, OwnBlockFamily] = {
    "AuraFlow": auraflow(),
    "Bria": flux_like("BriaTransformer2DModel"),
    "Chroma": flux_like(
        "ChromaTransformer2DModel", approximator_num_channels=16, approximator_hidden_dim=24, approximator_layers=1
    ),
    "CogView3 Plus": cogview("CogView3PlusTransformer2DModel"),
    "CogView4": cogview("CogView4Transformer2DModel", rope_axes_dim=(32, 32)),
    "ConsisID": consisid(),
    "EasyAnimate": easyanimate(),
    "Ernie-Image": ernie_image(),
    "Flux 3": flux3(),
    "HiDream-I1": hidream(),
    "HunyuanImage 2.1": hunyuan("HunyuanImageTransformer2DModel", False, "image_rotary_emb"),
    "HunyuanVideo": hunyuan("HunyuanVideoTransformer3DModel", True, "freqs_cis", pooled_projection_dim=8),
    "HunyuanVideo, first frame": hunyuan(
        "HunyuanVideoTransformer3DModel",
        True,
        "freqs_cis",
        pooled_projection_dim=8,
        image_condition_type="token_replace",
    ),
    "HunyuanVideo 1.5": hunyuan(
        "HunyuanVideo15Transformer3DModel",
        True,
        "freqs_cis",
        second=True,
        text_embed_2_dim=12,
        image_embed_dim=12,
    ),
    "HunyuanVideo FramePack": framepack(),
    "Ideogram 4": ideogram4(),
    "JoyImage": joyimage(),
    "JoyImage Edit Plus": joyimage_edit_plus(),
    "Krea 2": krea2(),
    "LongCat-Image": flux_like("LongCatImageTransformer2DModel"),
    "Lumina 2": lumina2(),
    "MiniMax-H3": minimax_h3(),
    "Mochi": mochi(),
    "Motif-Video": motif_video(),
    "Ovis-Image": flux_like("OvisImageTransformer2DModel", 1),
    "Qwen-Image": qwen_image(),
    "Qwen-Image Edit": qwen_image(edits=True),
    "Qwen-Image Layered": qwen_image(layers=2),
    "Z-Image": z_image(),
    "Z-Image Omni": z_image_omni(),
}
