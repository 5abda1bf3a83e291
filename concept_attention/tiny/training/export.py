"""The finished model as a diffusers folder: `FluxPipeline.from_pretrained(folder)` reads it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline

from ...files import write_json, write_text
from ..codec import LinearCodec
from ..model import Parts, build_clip_tokenizer, build_parts, build_t5_tokenizer, build_vae, set_linear_encoder
from ..texts import words
from . import checkpoint, vae


def export(run: Path, folder: Path, codec: LinearCodec) -> Path:
    """Write the moving averages of a run as a FluxPipeline in bfloat16.

    Raises:
        ValueError: if the run lacks a checkpoint of the transformer or of the autoencoder.
    """
    cpu = torch.device("cpu")
    found, found_vae = checkpoint.load(run, cpu), checkpoint.load(run / vae.FOLDER, cpu)
    if found is None or found_vae is None:
        missing = "transformer" if found is None else "autoencoder"
        raise ValueError(f"{run} has no checkpoint of the {missing}. Train it first (--part model, --part vae).")
    parts = build_parts(len(words()))
    _fill(parts, found[0]["average"])
    autoencoder = build_vae()
    set_linear_encoder(autoencoder, codec)
    autoencoder.decoder.load_state_dict(found_vae[0]["average"])
    pipeline = FluxPipeline(
        transformer=parts.transformer,
        text_encoder_2=parts.t5,
        tokenizer_2=build_t5_tokenizer(words()),
        text_encoder=parts.clip,
        tokenizer=build_clip_tokenizer(words()),
        vae=autoencoder,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
    )
    pipeline.to(torch.bfloat16).save_pretrained(folder)
    config = folder / "vae" / "config.json"
    kept = {key: value for key, value in json.loads(config.read_text()).items() if key != "block_out_channels"}
    write_json(kept, config)  # the class derives that entry and complains when it reads it
    for path in (folder / "model_index.json", *folder.glob("tokenizer*/tokenizer_config.json")):
        # Transformers 5 writes the class's new name, which version 4 does not know; both know the old one.
        write_text(path.read_text(encoding="utf-8").replace("TokenizersBackend", "PreTrainedTokenizerFast"), path)
    return folder


def _fill(parts: Parts, tensors: dict[str, torch.Tensor]) -> None:
    for part, module in parts.modules().items():
        own = {n.removeprefix(f"{part}."): t for n, t in tensors.items() if n.startswith(f"{part}.")}
        module.load_state_dict(own, strict=False)  # buffers are not trained
