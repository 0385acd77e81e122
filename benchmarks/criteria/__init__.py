"""Pruning criteria a suite can name; importing this package registers them all."""

from .bn_scale import bn_scale
from .chip import CHIP
from .foad import foad
from .fpgm import FPGM
from .hrank import HRank
from .magnitude import l1, l2, lamp
from .random import Random
from .register import CRITERIA, CriterionContext, Scorer, build_criterion, register_criterion
from .spec import CriterionSpec
from .taylor import Taylor
from .thinet import ThiNet

__all__ = [
    "CHIP",
    "CRITERIA",
    "FPGM",
    "CriterionContext",
    "CriterionSpec",
    "HRank",
    "Random",
    "Scorer",
    "Taylor",
    "ThiNet",
    "bn_scale",
    "build_criterion",
    "foad",
    "l1",
    "l2",
    "lamp",
    "register_criterion",
]
