"""Text encoders of ComfyUI with its own tokenizers, templates and cropping, and small stand-ins for what is large.

Where a tokenizer's file comes with the encoder's weights, or is not in every copy of ComfyUI, another vocabulary stands
in for it; the host's code around it is the host's.
"""

from __future__ import annotations

import base64
import functools
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import comfy.ops
import comfy.sd
import comfy.supported_models_base
import comfy.text_encoders
import pytest
import torch
from torch import nn

from .tiny import CPU, fill

T5_SIZES = {"d_model": 48, "d_ff": 64, "d_kv": 16, "num_heads": 2, "num_layers": 2}


class Mirror(nn.Module):
    """Stands in for an encoder of any size: token t's state is (its id, t, 1, 1, ...), `layers` times over."""

    def __init__(self, width: int = 8, layers: int = 0, masked: bool = True, skip: int = 0, **_: Any) -> None:
        super().__init__()
        self.width, self.layers, self.masked, self.skip = width, layers, masked, skip
        self.image_spans: list[Any] = []  # of Qwen-Image 2.1

    def encode_token_weights(self, batches: list[list[Any]]) -> tuple[Any, ...]:
        ids = torch.tensor([float(pair[0]) for batch in batches for pair in batch])[self.skip :]
        states = torch.ones(1, len(ids), self.width)
        states[0, :, 0], states[0, :, 1] = ids, torch.arange(len(ids))
        if self.layers:
            states = states[:, None].repeat(1, self.layers, 1, 1)
        extra = ({"attention_mask": torch.ones(1, len(ids))},) if self.masked else ()
        return states, torch.zeros(1, 4), *extra

    def set_clip_options(self, options: dict[str, Any]) -> None:
        pass

    def reset_clip_options(self) -> None:
        pass


def make_clip(tokenizer: Any, model: Any, tokenizer_data: dict[str, Any] | None = None, **options: Any) -> Any:
    """ComfyUI's CLIP, on the CPU in float32."""
    target = comfy.supported_models_base.ClipTarget(tokenizer, model)
    devices = {"load_device": CPU, "offload_device": CPU, "dtype": torch.float32}
    return comfy.sd.CLIP(target, tokenizer_data=tokenizer_data or {}, model_options={**devices, **options})


def text_encoder_module(name: str) -> Any:
    """A module of comfy.text_encoders; the test is skipped if this ComfyUI is too old to have it."""
    return pytest.importorskip(f"comfy.text_encoders.{name}", reason=f"this ComfyUI has no encoder {name}")


@functools.cache
def sd3(clip_l: bool = True, clip_g: bool = True, t5: bool = True) -> Any:
    """SD3's three token lists and the way it joins them, with mirrors for encoders."""
    module = text_encoder_module("sd3_clip")
    clip = make_clip(module.SD3Tokenizer, module.sd3_clip(clip_l=False, clip_g=False, t5=False))
    clip.cond_stage_model.t5_attention_mask = False
    clip.cond_stage_model.clip_l = Mirror(768, masked=False) if clip_l else None
    clip.cond_stage_model.clip_g = Mirror(1280, masked=False) if clip_g else None
    clip.cond_stage_model.t5xxl = Mirror(4096, masked=False) if t5 else None
    return clip


def tekken() -> torch.Tensor:
    """A Mistral tokenizer file with a token for every byte, and those of Flux 2's template."""
    younger = "an older ComfyUI leaves it to transformers to read Mistral's tokenizer file, and not every version can"
    pytest.importorskip("comfy.text_encoders.bpe_tokenizer", reason=younger)
    special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"]
    data = {
        "config": {"default_num_special_tokens": 1000, "default_vocab_size": 2000},
        "vocab": [{"rank": one, "token_bytes": base64.b64encode(bytes([one])).decode()} for one in range(256)],
        "special_tokens": [{"rank": rank, "token_str": word} for rank, word in enumerate(special)],
    }
    return torch.tensor(list(json.dumps(data).encode()), dtype=torch.uint8)


def spiece() -> torch.Tensor:
    """A SentencePiece file, in place of Gemma's: that of AuraFlow's T5."""
    file = Path(comfy.text_encoders.__path__[0], "t5_pile_tokenizer", "tokenizer.model")
    return torch.frombuffer(bytearray(file.read_bytes()), dtype=torch.uint8)


def harmony() -> torch.Tensor:
    """A tokenizer file in place of GPT-OSS's: bytes, special tokens, and words of Lens's template."""
    tokenizers = pytest.importorskip("tokenizers")
    levels = tokenizers.pre_tokenizers.ByteLevel
    special = ["<|start|>", "<|message|>", "<|end|>", "<|channel|>"]
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = levels(add_prefix_space=False)
    made.train_from_iterator(
        [text_encoder_module("gpt_oss")._lens_render_chat("")],
        tokenizers.trainers.BpeTrainer(
            vocab_size=400, special_tokens=special, initial_alphabet=sorted(levels.alphabet()), show_progress=False
        ),
    )
    return torch.tensor(list(made.to_str().encode()), dtype=torch.uint8)


class Llama:
    """Stands in for Llama's tokenizer, whose file is not in every copy of ComfyUI: its special tokens, and bytes."""

    SPECIAL = {
        "<|start_header_id|>user<|end_header_id|>\n\n": [128006, 882, 128007, 271],
        "<|start_header_id|>": [128006],
        "<|end_header_id|>\n\n": [128007, 271],
        "<|eot_id|>": [128009],
    }

    @classmethod
    def from_pretrained(cls, path: str, **_: Any) -> Llama:
        return cls()

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        ids = [128000] if add_special_tokens else []
        while text:
            word = next((word for word in self.SPECIAL if text.startswith(word)), "")
            ids += self.SPECIAL[word] if word else [1000 + byte for byte in text[0].encode()]
            text = text[len(word) or 1 :]
        return {"input_ids": ids}

    def get_vocab(self) -> dict[str, int]:
        return {}


class Encoder(NamedTuple):
    """One text encoder.

    Attributes:
        name: of the models that have it.
        make: a new CLIP, given pytest's monkeypatch.
        tokens: ids of a text's own tokens, by the tokenizer's own library; from (CLIP, text).
        odd: a text with characters that are easily misread, all of which it knows.
    """

    name: str
    make: Callable[[pytest.MonkeyPatch], Any]
    tokens: Callable[[Any, str], list[int]]
    odd: str = "a {red} 船 (1)"


def _mirrored(
    name: str,
    module: str,
    tokenizer: str,
    key: str,
    te: str = "te",
    *,
    home: str = "",
    before: str = "",
    odd: str = "a {red} 船 (1)",
    file: Callable[[], dict[str, Any]] = dict,
    options: dict[str, Any] | None = None,
    **mirror: Any,
) -> Encoder:
    """An encoder whose model is a mirror.

    Args:
        home: module of the tokenizer, where it is another.
        before: what the template has in front of the text and joins with it.
        file: the tokenizer's, where it comes with the weights.
    """

    @functools.cache
    def made() -> Any:
        found = text_encoder_module(module)
        factory = getattr(found, te)(**(options or {}))
        encoder = {f"{key}_class": functools.partial(Mirror, **mirror)}
        return make_clip(getattr(text_encoder_module(home or module), tokenizer), factory, file(), **encoder)

    def tokens(clip: Any, text: str) -> list[int]:
        return library_ids(tokenizer_of(clip, key), before + text)

    return Encoder(name, lambda _: made(), tokens, odd)


def tokenizer_of(clip: Any, key: str) -> Any:
    """The library's tokenizer of one token list."""
    found = clip.tokenizer
    return getattr(found, key, getattr(found, f"clip_{key}", None)).tokenizer


def first_word(clip: Any) -> int:
    """Where in the states of a prompt of one word that word is."""
    cat, dog = (clip.encode_from_tokens_scheduled(clip.tokenize(text))[0][0][0] for text in ("cat", "dog"))
    return int((cat != dog).any(dim=-1).nonzero()[0])


def library_ids(tokenizer: Any, text: str) -> list[int]:
    """Ids of a text without special tokens."""
    inner = getattr(tokenizer, "tokenizer", tokenizer)
    if hasattr(inner, "encode_as_ids"):  # SentencePiece
        return [int(one) for one in inner.encode(text, add_bos=False, add_eos=False)]
    if type(inner).__module__.startswith("tokenizers"):
        return list(inner.encode(text, add_special_tokens=False).ids)
    try:
        ids = tokenizer(text, add_special_tokens=False)
    except TypeError:  # ComfyUI's own, of Mistral: it has no special tokens to add
        ids = tokenizer(text)
    return list(ids["input_ids"])


def _hunyuan_video(patch: pytest.MonkeyPatch) -> Any:
    module = text_encoder_module("hunyuan_video")
    patch.setattr(module, "LlamaTokenizerFast", Llama)
    patch.setattr(module, "LLAMAModel", Mirror)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
    return make_clip(module.HunyuanVideoTokenizer, module.hunyuan_video_clip(), clip_l_model_config=sizes)


def _hidream(patch: pytest.MonkeyPatch) -> Any:
    patch.setattr(text_encoder_module("hunyuan_video"), "LlamaTokenizerFast", Llama)
    module = text_encoder_module("hidream")
    clip = make_clip(module.HiDreamTokenizer, module.hidream_clip(clip_l=False, clip_g=False, t5=False, llama=False))
    clip.cond_stage_model.t5xxl = Mirror(8, masked=False)
    clip.cond_stage_model.llama = Mirror(8, layers=3, masked=False)
    return clip


@functools.cache
def _sdxl() -> Any:
    """CLIP-L and CLIP-G side by side in every token's state."""
    module = importlib.import_module("comfy.sdxl_clip")
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 3}
    sizes |= {"projection_dim": 32}
    clip = make_clip(module.SDXLTokenizer, module.SDXLClipModel, clip_l_model_config=sizes, clip_g_model_config=sizes)
    clip.cond_stage_model.clip_l = Mirror(768, masked=False)
    clip.cond_stage_model.clip_g = Mirror(1280, masked=False)
    return clip


class Gemma(Mirror):
    """Stands in for LTX-2's Gemma: a mirror with what the encoder around it asks of a real one."""

    def __init__(self, **_: Any) -> None:
        super().__init__(8, layers=3)
        self.operations = comfy.ops.disable_weight_init
        sizes = SimpleNamespace(hidden_size=8, num_hidden_layers=2)
        self.transformer = SimpleNamespace(model=SimpleNamespace(config=sizes))

    def encode_token_weights(self, batches: list[list[Any]]) -> tuple[Any, ...]:
        states, pooled, _ = super().encode_token_weights(batches)
        own = torch.tensor([[int(pair[0] != 0) for batch in batches for pair in batch]])
        return states, pooled, {"attention_mask": own}


def ltx2() -> Any:
    """LTX-2's tokenizer, which pads at the left, and the projection of all layers of its encoder."""
    module = text_encoder_module("lt")
    factory = module.ltxav_te(text_encoder_model=Gemma, video_projection_dim=16)
    clip = make_clip(module.LTXAVGemmaTokenizer, factory, {"spiece_model": spiece()})
    fill(clip.cond_stage_model.text_embedding_projection)
    return clip


def ltx25() -> Any:
    """LTX-2.5's tokenizer, in place of whose file bytes stand, and the two projections of all layers of its encoder."""
    module, gemma = text_encoder_module("lt"), text_encoder_module("gemma4")
    if not hasattr(module, "ltxav_gemma4_tokenizer"):
        pytest.skip("this ComfyUI has no LTX-2.5")
    widths = {"video_projection_dim": 16, "audio_projection_dim": 8}
    factory = module.ltxav_te(
        text_encoder_model=Gemma, text_encoder_key="gemma4", text_projection_type="dual_linear", **widths
    )
    tokenizer = module.ltxav_gemma4_tokenizer(gemma.Gemma4UnifiedTokenizer)
    clip = make_clip(tokenizer, factory, {"tokenizer_json": harmony()})
    fill(clip.cond_stage_model.text_embedding_projection)
    return clip


def _of_t5(clip: Any, text: str) -> list[int]:
    return library_ids(tokenizer_of(clip, "t5xxl"), text)


CAUSAL = (
    _mirrored(
        "Flux.2 dev",
        "flux",
        "Flux2Tokenizer",
        "mistral3_24b",
        "flux2_te",
        file=lambda: {"tekken_model": tekken()},
        layers=3,
    ),
    _mirrored("Flux.2 Klein 4B", "flux", "KleinTokenizer", "qwen3_4b", "klein_te", layers=3),
    _mirrored(
        "Flux.2 Klein 9B",
        "flux",
        "KleinTokenizer8B",
        "qwen3_8b",
        "klein_te",
        options={"model_type": "qwen3_8b"},
        layers=3,
    ),
    _mirrored("Qwen-Image", "qwen_image", "QwenImageTokenizer", "qwen25_7b"),
    _mirrored("Qwen-Image 2.1", "qwen_image21", "QwenImage21Tokenizer", "qwen3vl_8b"),
    _mirrored("LongCat-Image", "longcat_image", "LongCatImageTokenizer", "qwen25_7b"),
    _mirrored("Ovis-Image", "ovis", "OvisTokenizer", "qwen3_2b", before=" ", masked=False),
    _mirrored(
        "HunyuanImage 2.1",
        "hunyuan_image",
        "HunyuanImageTokenizer",
        "qwen25_7b",
        odd='a "{red}" (sign)',  # what is quoted goes to another encoder as well
        options={"byt5": False},
    ),
    _mirrored(
        "HunyuanVideo 1.5",
        "hunyuan_image",
        "HunyuanVideo15Tokenizer",
        "qwen25_7b",
        home="hunyuan_video",
        options={"byt5": False},
    ),
    Encoder(
        "HunyuanVideo",
        _hunyuan_video,
        lambda clip, text: clip.tokenizer.llama.tokenizer(text, add_special_tokens=False)["input_ids"],
    ),
    _mirrored("Lumina 2", "lumina2", "LuminaTokenizer", "gemma2_2b", file=lambda: {"spiece_model": spiece()}),
    _mirrored(
        "NewBie",
        "lumina2",
        "NTokenizer",
        "gemma3_4b",
        options={"model_type": "gemma3_4b"},
        file=lambda: {"spiece_model": spiece()},
    ),
    _mirrored("Z-Image", "z_image", "ZImageTokenizer", "qwen3_4b"),
    _mirrored("OmniGen2", "omnigen2", "Omnigen2Tokenizer", "qwen25_3b"),
    _mirrored("Boogu", "boogu", "BooguTokenizer", "qwen3vl_8b"),
    _mirrored("MageFlow", "mage_flow", "MageFlowTokenizer", "qwen3vl_4b"),
    _mirrored("Krea 2", "krea2", "Krea2Tokenizer", "qwen3vl_4b", layers=12),
    _mirrored("JoyImage", "joyimage", "JoyImageTokenizer", "qwen3vl_8b"),
    _mirrored(
        "PixelDiT",
        "pixeldit",
        "PixelDiTGemma2Tokenizer",
        "gemma2_2b",
        "pixeldit_te",
        file=lambda: {"spiece_model": spiece()},
    ),
    _mirrored(
        "Lens", "gpt_oss", "LensTokenizer", "gpt_oss", "lens_te", file=lambda: {"tokenizer_json": harmony()}, skip=97
    ),
    _mirrored("Ernie-Image", "ernie", "ErnieTokenizer", "ministral3_3b", file=lambda: {"tekken_model": tekken()}),
    _mirrored("Anima", "anima", "AnimaTokenizer", "qwen3_06b"),
    _mirrored("MiniMax-H3", "minimax", "MiniMaxH3Tokenizer", "qwen3vl_32b"),
    Encoder("SDXL", lambda _: _sdxl(), lambda clip, text: library_ids(tokenizer_of(clip, "l"), text), "a (red) cat: 1"),
)
BIDIRECTIONAL = (
    Encoder("Stable Diffusion 3", lambda _: sd3(), _of_t5, "a (red) Möwe: 1"),
    Encoder("HiDream-I1", _hidream, _of_t5, "a (red) Möwe: 1"),
    _mirrored("Wan", "wan", "WanT5Tokenizer", "umt5xxl", file=lambda: {"spiece_model": spiece()}, odd="a (red) cat: 1"),
    _mirrored("LTX Video", "lt", "LTXVT5Tokenizer", "t5xxl", "ltxv_te", odd="a (red) Möwe: 1"),
)


def clip_of(name: str) -> Any:
    """The CLIP of an encoder that needs no patch."""
    (found,) = (encoder for encoder in (*CAUSAL, *BIDIRECTIONAL) if encoder.name == name)
    return found.make(pytest.MonkeyPatch())
