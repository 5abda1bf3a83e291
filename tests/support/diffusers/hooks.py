"""Whether anything is left on a model."""

from __future__ import annotations

from torch import nn

HOOK_DICTS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def untouched(module: nn.Module) -> bool:
    """Whether nothing is hooked to any submodule, and no `forward` was replaced."""
    return all(
        not any(getattr(part, name) for name in HOOK_DICTS) and "forward" not in vars(part) for part in module.modules()
    )
