"""A random Flux of any size inside ComfyUI, and the ways of sampling with it that are compared.

Import this module after `dev_comfyui.import_library`.
"""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.supported_models
import comfy.utils
import comfyui_version
import nodes
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from concept_attention.concepts import Concept
from concept_attention.hosts.comfyui.engine.settings import Settings
from concept_attention.hosts.comfyui.sampling import sample
from concept_attention.hosts.encoded import EncodedConcepts
from concept_attention.recording.recording import Recording

from .comfyui_sizes import HEAD_DIM, Sizes

TEXT_WIDTH, POOLED_WIDTH, CHANNELS, LATENT_PIXELS = 4096, 768, 16, 8  # Flux 1's own
SEED, CFG, SAMPLER, SCHEDULER = 0, 1.0, "euler", "simple"


class RandomComfyFlux:
    """The MODEL and one method per way of sampling with it.

    Attributes:
        comfyui: its version.
        model: the MODEL.
        encoded: its concepts.
        differing: greatest number of values in which any run's latent differs from the first run's.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.device = comfy.model_management.get_torch_device()
        if self.device.type != sizes.device:
            raise ValueError(f"ComfyUI computes on {self.device.type} here, expected {sizes.device}.")
        self.comfyui: str = comfyui_version.__version__
        comfy.utils.set_progress_bar_enabled(False)
        torch.manual_seed(SEED)
        # As after loading a file: the weights are on the CPU until the first run moves them to the device.
        self.model = ModelPatcher(self._make_model(), self.device, torch.device("cpu"))
        concepts = tuple(Concept(f"concept {index}", f"concept {index}") for index in range(sizes.concepts))
        embeddings = torch.randn(sizes.concepts, TEXT_WIDTH)
        self.encoded = EncodedConcepts(concepts, embeddings, (1,) * len(concepts), "first")
        self._prompt = [[torch.randn(1, sizes.text, TEXT_WIDTH), {"pooled_output": torch.randn(1, POOLED_WIDTH)}]]
        self._latent: Tensor | None = None
        self.differing = 0

    def plain(self) -> None:
        """KSampler alone."""
        (latent,) = nodes.common_ksampler(self.model, *self.arguments())
        self.compare(latent["samples"])

    def ours(self, end_percent: float = 1.0) -> Recording:
        """KSampler with the library's concept attention in all layers, in the first steps or in all of them."""
        settings = Settings(self.encoded, layers="all", end_percent=end_percent)
        latent, recording = sample(self.model, settings, *self.arguments())
        self.compare(latent["samples"])
        return recording

    def half(self) -> Recording:
        """With concept attention in the first half of the steps."""
        return self.ours(end_percent=0.5)

    def arguments(self) -> tuple[Any, ...]:
        """KSampler's arguments after the model, in order."""
        side = self.sizes.pixels // LATENT_PIXELS
        latent = {"samples": torch.zeros(1, CHANNELS, side, side)}
        return SEED, self.sizes.steps, CFG, SAMPLER, SCHEDULER, self._prompt, self._prompt, latent

    def compare(self, latent: Tensor) -> None:
        """Compare a run's latent with the first run's."""
        if self._latent is None:
            self._latent = latent
        self.differing = max(self.differing, int((latent != self._latent).sum()))

    def _make_model(self) -> Any:
        sizes, guidance = self.sizes, self.sizes.shape == "flux-dev"
        kind = comfy.supported_models.Flux if guidance else comfy.supported_models.FluxSchnell
        config = kind(
            {
                "image_model": "flux",
                "in_channels": CHANNELS,
                "out_channels": CHANNELS,
                "patch_size": 2,
                "vec_in_dim": POOLED_WIDTH,
                "context_in_dim": TEXT_WIDTH,
                "hidden_size": sizes.width,
                "mlp_ratio": 4.0,
                "num_heads": sizes.width // HEAD_DIM,
                "depth": sizes.blocks,
                "depth_single_blocks": sizes.singles,
                "axes_dim": [16, 56, 56],
                "theta": 10000,
                "qkv_bias": True,
                "guidance_embed": guidance,
                "txt_ids_dims": [],
            }
        )
        config.set_inference_dtype(getattr(torch, sizes.dtype), None)
        model = config.get_model({}, "")
        _fill(model.diffusion_model, self.device)
        return model


@torch.no_grad()
def _fill(module: nn.Module, device: torch.device) -> None:
    """Random weights of unit gain, as ComfyUI's layers do not initialise theirs.

    Args:
        module: its parameters are on the CPU.
        device: draws the weights; for billions a CPU takes minutes.
    """
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, dtype=parameter.dtype, device=device)
        if parameter.ndim > 1:
            noise *= parameter[0].numel() ** -0.5
        else:
            noise = 0.1 * noise + (not name.endswith("bias"))
        parameter.copy_(noise)
