"""What a reader must know to judge an ablation."""

from __future__ import annotations

from ..data.leaderboard import Leaderboard
from ..formatting import format_percent
from .notes import interval, kept_layers, provenance


def ablation_notes(board: Leaderboard) -> list[str]:
    """One sentence or two each, as plain text."""
    conditions = board.setup.conditions
    has_adjusted = any(row.one_shot_bn for row in board.rows)
    adjusted = " BN adjusted: the statistics of batch normalization are adjusted on the calibration images."
    return [
        "The published rule decides by t (how many neighbors a kept channel may remove) and s (the similarity they "
        "must have) how many channels are kept, so that rows end at different sizes: accuracies are to be read "
        "together with the FLOPs, and no row is better than another by accuracy alone.",
        interval(board.seeds),
        f"Before fine-tuning: nothing is trained after channels are removed.{adjusted if has_adjusted else ''}",
        f"{board.network}: base {format_percent(board.rows[0].base)} % on {board.test_images} "
        f"test images; {conditions.calibration_images} training images for calibration.{kept_layers(board)}",
        f"FLOPs are {board.flops_unit}; reductions are in brackets.",
        *provenance(board),
    ]
