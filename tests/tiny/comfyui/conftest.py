"""Tests in ComfyUI's library, in a folder of their own."""

from ...hosts.comfyui.conftest import comfy_host, pytest_pycollect_makemodule  # noqa: F401
