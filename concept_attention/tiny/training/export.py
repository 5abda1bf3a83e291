"""Export of a finished run as a diffusers folder, which its pipeline's `from_pretrained` reads."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from ...errors import UserError
from ...files import atomic_write, write_json, write_text
from ..models.codec import CODEC, LinearCodec, write_codec
from ..models.parts import Parts
from . import checkpoint, vae
from .family import Family
from .flux import FLUX


def export(run: Path, folder: Path, codec: LinearCodec, start: Path | None = None, family: Family = FLUX) -> Path:
    """Write the moving averages of a run as a pipeline in bfloat16.

    Args:
        run: the run's folder.
        folder: where the pipeline goes.
        codec: the run's latent space.
        start: folder of the model that the codec is from; its decoder is used if the run trained none.
        family: the run's architecture.

    Raises:
        UserError: if there is no checkpoint of the transformer, or no decoder.
    """
    cpu = torch.device("cpu")
    found, found_vae = checkpoint.load(run, cpu), checkpoint.load(run / vae.FOLDER, cpu)
    if found is None or (found_vae is None and start is None):
        missing = "transformer" if found is None else "autoencoder"
        raise UserError(f"{run} has no checkpoint of the {missing}. Train it first (--part model, --part vae).")
    parts = family.build()
    parts.fill(found[0]["average"])
    pipeline = family.pipeline(parts, codec)
    if found_vae:
        pipeline.vae.decoder.load_state_dict(found_vae[0]["average"])
    elif start:
        pipeline.vae.decoder.load_state_dict(type(pipeline.vae).from_pretrained(start / "vae").decoder.state_dict())
    pipeline.to(torch.bfloat16).save_pretrained(folder)
    write_codec(codec, folder / CODEC)  # for further training: a newly fitted codec might differ in its signs
    _make_compatible(folder)
    return folder


def has_decoder(folder: Path, family: Family, codec: LinearCodec) -> bool:
    """Whether an exported folder has the kind of autoencoder that the family has."""
    config = json.loads((folder / "vae" / "config.json").read_text(encoding="utf-8"))
    return config["_class_name"] == type(family.vae(codec)).__name__


def read_parts(folder: Path, family: Family = FLUX) -> Parts:
    """The transformer and text encoders of an exported folder."""
    return family.parts_of(DiffusionPipeline.from_pretrained(folder))


def _make_compatible(folder: Path) -> None:
    """Make the folder load the same way, without warnings, in every version of diffusers and transformers."""
    # Version 5 of transformers writes a class name that version 4 does not know; both know the older one.
    for path in (folder / "model_index.json", *folder.glob("tokenizer*/tokenizer_config.json")):
        write_text(path.read_text(encoding="utf-8").replace("TokenizersBackend", "PreTrainedTokenizerFast"), path)
    # Stored in bfloat16, loaded in float32 by default like the rest of the pipeline.
    for path in folder.glob("text_encoder*/config.json"):
        write_json({**json.loads(path.read_text(encoding="utf-8")), "dtype": "float32"}, path)
    # CLIP's checkpoints have this prefix, which version 5 omits and version 4 needs.
    for config in folder.glob("text_encoder*/config.json"):
        if json.loads(config.read_text(encoding="utf-8"))["architectures"] == ["CLIPTextModel"]:
            weights = config.with_name("model.safetensors")
            tensors = {f"text_model.{name.removeprefix('text_model.')}": t for name, t in load_file(weights).items()}
            with atomic_write(weights) as temporary:
                save_file(tensors, temporary, metadata={"format": "pt"})
    # AutoencoderTiny derives this entry and warns when it reads it.
    config = folder / "vae" / "config.json"
    entries = json.loads(config.read_text(encoding="utf-8"))
    if entries["_class_name"] == "AutoencoderTiny":
        write_json({key: value for key, value in entries.items() if key != "block_out_channels"}, config)
