"""The benchmark harness behind ``foad-bench``: pruning criteria compared under equal conditions.

Base model, data, calibration images, FLOPs target, fine-tuning and seeds are the same for every criterion.
Each run leaves one JSON record, and every table and plot is rendered from records alone.
"""
