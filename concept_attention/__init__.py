"""ConceptAttention: where a multimodal diffusion transformer places each concept (arXiv:2502.04320)."""
