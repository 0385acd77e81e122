"""Training a pruned network to give the outputs of the original one, without labels."""
