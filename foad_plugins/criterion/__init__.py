"""The paper: feature maps, similarity, and which channels are redundant."""
