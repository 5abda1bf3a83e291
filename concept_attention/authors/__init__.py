"""The authors' package, module by module, for code that was written for it.

Scripts written for `concept_attention` of the authors (arXiv:2502.04320) run with `concept_attention.authors` in their
imports. The docstring of each class lists what remains different.
"""

from .flux import ConceptAttentionFluxPipeline
from .output import ConceptAttentionOutput

__all__ = ["ConceptAttentionFluxPipeline", "ConceptAttentionOutput"]
