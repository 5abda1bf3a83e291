"""What saved graphs and scripts rely on: the id, inputs and outputs of every node, in order. Tests compare against it.

A released input or output may not be renamed, moved or removed, and a required input may not be added.
"""

from __future__ import annotations

from typing import NamedTuple


class NodeContract(NamedTuple):
    """Sockets of a node as `id:TYPE`, in the order of its schema; an optional input ends in `?`."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def server_inputs(self) -> tuple[str, ...]:
        """The inputs in the order of ComfyUI's /object_info and of a workflow's widgets: required ones first."""
        return tuple(sorted(self.inputs, key=lambda socket: socket.endswith("?")))


def _node(inputs: str, outputs: str) -> NodeContract:
    return NodeContract(tuple(inputs.split()), tuple(outputs.split()))


NODES: dict[str, NodeContract] = {
    "ConceptAttentionTinyModel": _node("model:COMBO?", "MODEL:MODEL CLIP:CLIP VAE:VAE"),
    "ConceptEncode": _node(
        "clip:CLIP concepts:STRING background:STRING? pooling:COMBO? reader:COMBO? "
        "from_prompt:STRING? presence:BOOLEAN?",
        "concepts:CA_CONCEPTS",
    ),
    "ConceptAttentionPatchModel": _node(
        "model:MODEL concepts:CA_CONCEPTS? layers:STRING? start_percent:FLOAT? end_percent:FLOAT? mode:COMBO? "
        "live_preview:STRING? keep:COMBO? clip:CLIP? words:STRING? background:STRING?",
        "MODEL:MODEL",
    ),
    "ConceptAttentionCollect": _node("latent:LATENT model:MODEL?", "recording:CA_RECORDING heatmaps:CA_HEATMAPS"),
    "ConceptAttentionKSampler": _node(
        "model:MODEL seed:INT steps:INT cfg:FLOAT sampler_name:COMBO scheduler:COMBO positive:CONDITIONING "
        "negative:CONDITIONING latent_image:LATENT denoise:FLOAT concepts:CA_CONCEPTS layers:STRING? "
        "start_percent:FLOAT? end_percent:FLOAT? mode:COMBO? live_preview:STRING? keep:COMBO? "
        "stop_if_absent:STRING? stop_after:FLOAT? stop_below:FLOAT?",
        "LATENT:LATENT recording:CA_RECORDING",
    ),
    "ConceptAttentionSamplerCustom": _node(
        "noise:NOISE guider:GUIDER sampler:SAMPLER sigmas:SIGMAS latent_image:LATENT concepts:CA_CONCEPTS "
        "layers:STRING? start_percent:FLOAT? end_percent:FLOAT? mode:COMBO? live_preview:STRING? keep:COMBO? "
        "stop_if_absent:STRING? stop_after:FLOAT? stop_below:FLOAT?",
        "output:LATENT denoised_output:LATENT recording:CA_RECORDING",
    ),
    "ConceptAttentionEncodeImage": _node(
        "model:MODEL concepts:CA_CONCEPTS latent:LATENT positive:CONDITIONING? noise:FLOAT samples:INT seed:INT "
        "layers:STRING? mode:COMBO? live_preview:STRING? keep:COMBO?",
        "recording:CA_RECORDING",
    ),
    "ConceptHeatmaps": _node(
        "recording:CA_RECORDING layers:STRING? steps:STRING? mode:COMBO? temperature:FLOAT? kind:COMBO?",
        "heatmaps:CA_HEATMAPS",
    ),
    "ConceptHeatmapToMask": _node(
        "heatmaps:CA_HEATMAPS concepts:STRING? method:COMBO? threshold:FLOAT? percentile:FLOAT? blur:FLOAT? "
        "guide:IMAGE? width:INT? height:INT? guide_radius:INT? guide_epsilon:FLOAT? frames:COMBO? subtract:STRING? "
        "holes:FLOAT? islands:FLOAT? grow:INT?",
        "MASK:MASK",
    ),
    "ConceptHeatmapOverlay": _node(
        "image:IMAGE heatmaps:CA_HEATMAPS layout:COMBO? colormap:COMBO? opacity:FLOAT? legend:BOOLEAN? blend:COMBO?",
        "IMAGE:IMAGE",
    ),
    "ConceptHeatmapPlot": _node(
        "recording:CA_RECORDING concept:STRING? mode:COMBO? temperature:FLOAT? colormap:COMBO? frame:INT?",
        "IMAGE:IMAGE",
    ),
    "ConceptHeatmapViewer": _node(
        "image:IMAGE recording:CA_RECORDING? heatmaps:CA_HEATMAPS? concepts:STRING? layers:STRING? steps:STRING? "
        "method:COMBO? threshold:FLOAT? percentile:FLOAT? mode:COMBO? temperature:FLOAT? subtract:STRING? "
        "holes:FLOAT? islands:FLOAT? grow:INT? blur:FLOAT? guided:BOOLEAN? edited:STRING?",
        "IMAGE:IMAGE heatmaps:CA_HEATMAPS MASK:MASK masks:MASK",
    ),
    "ConceptRecordingSave": _node("recording:CA_RECORDING filename_prefix:STRING float16:BOOLEAN?", ""),
    "ConceptRecordingLoad": _node("file:COMBO", "recording:CA_RECORDING"),
    "ConceptCheck": _node(
        "recording:CA_RECORDING wanted:STRING? threshold:FLOAT? layers:STRING? steps:STRING?",
        "present:BOOLEAN least_score:FLOAT scores:FLOAT report:STRING",
    ),
    "ConceptBestOf": _node(
        "model:MODEL seed:INT steps:INT cfg:FLOAT sampler_name:COMBO scheduler:COMBO positive:CONDITIONING "
        "negative:CONDITIONING latent_image:LATENT denoise:FLOAT concepts:CA_CONCEPTS seeds:INT wanted:STRING? "
        "part:FLOAT?",
        "LATENT:LATENT recording:CA_RECORDING seed:INT report:STRING",
    ),
    "ConceptBoxes": _node(
        "heatmaps:CA_HEATMAPS concepts:STRING? threshold:FLOAT? image:IMAGE? smallest:FLOAT? most:INT? padding:INT?",
        "bboxes:BOUNDING_BOX positive_coords:STRING negative_coords:STRING masks:MASK crops:IMAGE SEGS:SEGS",
    ),
    "ConceptDatasetSave": _node(
        "image:IMAGE heatmaps:CA_HEATMAPS? mask:MASK? caption:STRING? format:COMBO? folder:STRING? concepts:STRING? "
        "method:COMBO? threshold:FLOAT? min_presence:FLOAT?",
        "",
    ),
    "ConceptRegion": _node(
        "model:MODEL conditioning:CONDITIONING regional:CONDITIONING concepts:CA_CONCEPTS concept:STRING? start:FLOAT? "
        "freeze:FLOAT? way:COMBO? shape:COMBO? grow:FLOAT? feather:FLOAT? strength:FLOAT? live_preview:BOOLEAN?",
        "MODEL:MODEL CONDITIONING:CONDITIONING",
    ),
    "ConceptLora": _node(
        "model:MODEL lora:COMBO lora_strength:FLOAT concepts:CA_CONCEPTS concept:STRING? start:FLOAT? freeze:FLOAT? "
        "shape:COMBO? grow:FLOAT? feather:FLOAT? strength:FLOAT?",
        "MODEL:MODEL",
    ),
    "ConceptStrength": _node(
        "model:MODEL concepts:CA_CONCEPTS scales:COMBO factor:FLOAT concept:STRING? start:FLOAT? freeze:FLOAT? "
        "shape:COMBO? grow:FLOAT? feather:FLOAT? strength:FLOAT?",
        "MODEL:MODEL",
    ),
    "ConceptRegionMask": _node("latent:LATENT region:STRING?", "MASK:MASK unchanged:LATENT"),
}
