"""One module for every architecture family: what its joint blocks take, and its text path run on concept tokens."""
