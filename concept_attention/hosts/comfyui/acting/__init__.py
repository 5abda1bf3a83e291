"""What acts where a concept is, within the run that finds it: prompts, LoRAs, strengths."""
