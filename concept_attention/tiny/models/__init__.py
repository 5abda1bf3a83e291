"""How the landscape models are built: transformers, text encoders, autoencoders and the linear codec."""
