"""Images for people: overlays, legends, figures and previews."""
