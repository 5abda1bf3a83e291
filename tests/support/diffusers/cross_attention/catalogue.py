"""All families whose concepts are read as keys."""

from __future__ import annotations

from collections.abc import Mapping

from .causal import qwen_image21
from .family import CrossFamily
from .images import fibo2, hunyuan_dit, pixart, sana, unet, unet_with_ip_adapter
from .videos import allegro, cosmos, kandinsky5, latte, ltx, ltx2, sana_video, wan

CROSS: Mapping[str, CrossFamily] = {
    "Qwen-Image 2.1": qwen_image21(padded=True),
    "Qwen-Image 2.1, edit": qwen_image21(condition=(2, 4)),
    "Wan": wan(),
    "Wan, image to video": wan(sees_image=True),
    "Wan VACE": wan("WanVACETransformer3DModel", vace_layers=[0, 2], vace_in_channels=6),
    "SkyReels 2": wan("SkyReelsV2Transformer3DModel"),
    "ChronoEdit": wan("ChronoEditTransformer3DModel"),
    "LTX Video": ltx(),
    "LTX-2": ltx2(),
    "LTX-2.3": ltx2(newer=True),
    "Stable Diffusion 1 and 2": unet("xx-"),
    "SDXL": unet(
        "-x",
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + 16,
        use_linear_projection=True,
        transformer_layers_per_block=1,
    ),
    "Kolors": unet("-x", encoder_hid_dim=40, encoder_hid_dim_type="text_proj"),
    "Stable Diffusion with an IP-Adapter": unet_with_ip_adapter(),
    "Fibo 2": fibo2(),
    "Fibo 2, edit": fibo2(context=(2, 2)),
    "Fibo 2, prompts of several lengths": fibo2(padded=True),
    "Kandinsky 5": kandinsky5(),
    "PixArt": pixart(),
    "HunyuanDiT": hunyuan_dit(),
    "Sana": sana(),
    "Sana Video": sana_video(),
    "Allegro": allegro(),
    "Latte": latte(),
    "Cosmos 1": cosmos(first=True),
    "Cosmos Predict2": cosmos(),
    "Cosmos Predict2.5": cosmos(projects=True),
    "Cosmos Transfer2.5": cosmos(sees_image=True),
}
