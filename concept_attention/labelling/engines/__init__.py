"""What runs the workers: this machine or a Ray cluster."""
