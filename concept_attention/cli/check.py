"""`concept-attention check`: whether a model's maps find what drawn scenes show, and what recording costs."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from ..embedded import SIZES, UNTAUGHT
from ..errors import UserError
from ..files import write_json
from ..tiny.check.checking import check_model
from ..tiny.check.report import facts, table
from ..tiny.check.subject import Subject
from ..tiny.evaluation.landscapes import MOST_SCENES
from .folder import prepared_file
from .progress import progress_bar


def run(arguments: Namespace) -> int:
    """Run the command; 1 if recording changed a latent. Raises `UserError` for arguments that cannot be used."""
    if arguments.scenes > MOST_SCENES:
        raise UserError(f"--scenes must be at most {MOST_SCENES}, got {arguments.scenes}.")
    with prepared_file(arguments.json) as path:
        name, subject = _subject(arguments)
        with progress_bar("Checking", "scene", arguments.scenes, arguments.quiet) as on_scene:
            check = check_model(
                subject,
                arguments.scenes,
                arguments.seed,
                noise=arguments.noise,
                rounds=arguments.rounds,
                on_scene=on_scene,
            )
        if path is not None:
            write_json({"model": name, "seed": arguments.seed, **facts(check), "note": subject.taught}, path)
    print(table(check, name, subject.taught))
    if path is not None:
        print(f"\nWrote {path}")
    return int(not check.cost.identical)


def _subject(arguments: Namespace) -> tuple[str, Subject]:
    """The model to check, and its name."""
    size: dict[str, Any] = {"width": arguments.width, "height": arguments.height}
    in_comfyui = arguments.comfyui is not None and arguments.model in UNTAUGHT
    if arguments.comfyui_checkpoint is None and not in_comfyui:
        from ..tiny.check.in_diffusers import InDiffusers
        from .model import load

        return arguments.model, InDiffusers(load(arguments), frames=arguments.frames, mode=arguments.mode, **size)
    from ..hosts.comfyui.library import import_comfyui

    import_comfyui(arguments.comfyui, cpu=arguments.device == "cpu")
    from ..tiny.check.in_comfyui import InComfyUI, load_checkpoint

    if arguments.comfyui_checkpoint is not None:
        parts = load_checkpoint(arguments.comfyui_checkpoint)
        return arguments.comfyui_checkpoint.name, InComfyUI(*parts, mode=arguments.mode, **size)
    from ..tiny.comfyui.sd import load_landscape_sd

    width, height = SIZES[arguments.model][0]
    own: dict[str, Any] = {"width": arguments.width or width, "height": arguments.height or height}
    return arguments.model, InComfyUI(*load_landscape_sd(), mode=arguments.mode, **own)
