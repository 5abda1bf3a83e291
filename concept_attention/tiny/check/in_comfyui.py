"""ComfyUI's MODEL, CLIP and VAE as the subject of a check, and how they are loaded outside of its server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.sd
import nodes
import numpy as np
import torch
from torch import Tensor

from ...concepts import parse_concepts
from ...errors import UserError
from ...hosts.comfyui.adapters.registry import adapter_for
from ...hosts.comfyui.analysis import analyze
from ...hosts.comfyui.encoding.encode import encode_concepts
from ...hosts.comfyui.engine.settings import Settings
from ...hosts.comfyui.sampling import sample
from ...recording.recording import Recording
from ..evaluation.landscapes import Prompt, noise_seed, scene_concepts
from ..world.scenes import Scene
from .subject import ASKED, PROMPT, STEPS

SIDES = {("unet", 768): 512, ("unet", 1024): 768}  # pixels by architecture and text width: Stable Diffusion 1 and 2
LARGE = 1024  # of all others


class InComfyUI:
    """See `Subject`.

    Args:
        model, clip, vae: as a loader gives them.
        width, height: pixels; None is the model's own.
        mode, layers: to record, see `Settings`.
        prompt: what scenes are shown with: no prompt, or their caption.
        taught: see `Subject`.

    Raises:
        UserError: if the model cannot be recorded.
    """

    frames = 1

    def __init__(
        self,
        model: Any,
        clip: Any,
        vae: Any,
        width: int | None = None,
        height: int | None = None,
        mode: str = "auto",
        layers: str = "auto",
        prompt: Prompt = "none",
        taught: str = "",
    ) -> None:
        self._model, self._clip, self._vae = model, clip, vae
        self._mode, self._layers, self._prompt = mode, layers, prompt
        self.device: torch.device = model.load_device
        self.taught = taught
        own = adapter_for(model.model).describe(model.model)
        side = SIDES.get((own.name, own.text_width), LARGE)
        self.width, self.height = width or side, height or side
        with torch.inference_mode():
            self._encoded = encode_concepts(clip, parse_concepts(ASKED))
            self._prompts = [self._conditioning(text) for text in (PROMPT, "")]
            self._empty = {"samples": torch.zeros_like(vae.encode(torch.zeros(1, self.height, self.width, 3)))}

    @torch.inference_mode()
    def look(self, scene: Scene, noise: float) -> Recording:
        encoded = encode_concepts(self._clip, scene_concepts(scene))
        settings = Settings(encoded, layers=self._layers, mode=self._mode)
        prompt = self._conditioning(scene.caption) if self._prompt == "caption" else None
        image = torch.from_numpy(scene.image.astype(np.float32) / 255)[None]
        latent = {"samples": self._vae.encode(image)}
        return analyze(self._model, settings, latent, prompt, noise, seed=noise_seed(scene))

    def _conditioning(self, text: str) -> Any:
        return self._clip.encode_from_tokens_scheduled(self._clip.tokenize(text))

    @torch.inference_mode()
    def sample(self, recorded: bool) -> Tensor:
        options = (0, STEPS, 3.0, "euler", "simple", *self._prompts, self._empty)
        if recorded:
            latent, _ = sample(self._model, Settings(self._encoded, mode=self._mode), *options)
        else:
            (latent,) = nodes.common_ksampler(self._model, *options)
        result: Tensor = latent["samples"]
        return result


def load_checkpoint(file: Path) -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE of a checkpoint file, as ComfyUI's "Load Checkpoint" loads them.

    Raises:
        UserError: if the file cannot be read as one, or lacks one of the three.
    """
    if not file.is_file():
        raise UserError(f"There is no file {file}. Name a checkpoint that ComfyUI's Load Checkpoint reads.")
    try:
        model, clip, vae, *_ = comfy.sd.load_checkpoint_guess_config(str(file))
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise UserError(f"ComfyUI cannot read {file}: {' '.join(str(error).split())}") from error
    missing = [name for name, part in (("model", model), ("text encoder", clip), ("VAE", vae)) if part is None]
    if missing:
        raise UserError(f"{file} has no {' and no '.join(missing)}. Name a checkpoint with all of its parts.")
    return model, clip, vae
