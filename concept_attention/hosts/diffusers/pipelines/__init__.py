"""How each family's pipeline is run, one module per family."""
