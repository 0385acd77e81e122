"""One run: score, prune, evaluate, fine-tune."""
