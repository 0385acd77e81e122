"""What training makes smaller: the error on labels, the distance to another network, or an angular margin."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...recovery.training.distillation import cosine_distance, relative_squared_error
from ...recovery.training.feature_maps import layer_outputs, matching_layers
from ..errors import BenchmarkError, SettingsError
from .recipe import Recipe


class MissingTeacherError(BenchmarkError, ValueError):
    """A recipe distills, and there is no teacher."""


class Objective(nn.Module):
    """A network and a loss; what is trained are the parameters of both.

    Args:
        model: the network that is trained.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of a batch, a number."""
        raise NotImplementedError


class Labels(Objective):
    """Cross-entropy of logits (N, classes)."""

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of a batch."""
        return F.cross_entropy(self.model(images), labels)


class Distillation(Objective):
    """Distance to the outputs of a teacher (Hinton et al. 2015), without labels.

    For outputs s of the network and t of the teacher, (N, D) embeddings or logits, the loss is the mean over images of
    ``1 - cos(s, t)`` plus the squared error as a share of the teacher's mean square. With feature layers it
    also is, times a weight, the mean over these layers of the squared error of their outputs, also as a share
    (Romero et al. 2015, without their regressor: widths must agree).

    Args:
        model: the network that is trained.
        teacher: unchanged, in eval mode.
        feature_layers: patterns of names of modules whose outputs are compared too; ``*`` stands for anything but a
            dot.
        feature_weight: of their term.

    Raises:
        SettingsError: if a pattern fits no module that both networks have.
    """

    def __init__(
        self,
        model: nn.Module,
        teacher: nn.Module,
        feature_layers: tuple[str, ...] = (),
        feature_weight: float = 1.0,
    ) -> None:
        super().__init__(model)
        teacher.eval()
        # Not registered: it is neither trained, nor put into train mode, nor kept with the network.
        self._unregistered = (teacher,)
        try:
            self._layers = matching_layers(model, teacher, feature_layers)
        except ValueError as error:
            raise SettingsError(str(error)) from None
        self._weight = feature_weight

    @property
    def teacher(self) -> nn.Module:
        """The network whose outputs are the target."""
        return self._unregistered[0]

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of a batch; the labels are ignored."""
        with torch.no_grad(), layer_outputs(self.teacher, self._layers) as wanted:
            target = self.teacher(images).float()
        with layer_outputs(self.model, self._layers) as found:
            output = self.model(images).float()
        # Widths are compared first, which the cosine would only stumble over.
        loss = _share(output, target) + cosine_distance(output, target)
        if self._layers:
            shares = [_share(found[name][-1].float(), wanted[name][-1].float(), name) for name in self._layers]
            loss = loss + self._weight * torch.stack(shares).mean()
        return loss


class ArcFace(Objective):
    """Cross-entropy of cosines to class centers, with an angle added to that of the right class (Deng et al. 2019).

    Args:
        model: gives embeddings (N, D).
        classes: how many people there are.
        width: D.
        margin: the angle, in radians.
        scale: of the cosines.
    """

    def __init__(self, model: nn.Module, classes: int, width: int, *, margin: float = 0.5, scale: float = 64.0) -> None:
        super().__init__(model)
        self.head = nn.Parameter(torch.empty(classes, width))
        self._margin, self._scale = margin, scale

    def draw(self, random: torch.Generator) -> None:
        """Give the class centers random values; the generator is on the CPU."""
        with torch.no_grad():
            centers = torch.randn(self.head.shape, generator=random) / math.sqrt(self.head.shape[1])
            self.head.copy_(centers)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of a batch."""
        embedded = F.normalize(self.model(images).float())
        cosine = embedded @ F.normalize(self.head.float()).t()
        right = cosine.gather(1, labels[:, None]).clamp(-1 + 1e-7, 1 - 1e-7)
        angle = right.acos() + self._margin
        # Beyond half a turn the cosine would rise again: there it continues to fall on a line, as in the authors' code.
        shifted = torch.where(angle <= math.pi, angle.cos(), right - math.sin(self._margin) * self._margin)
        return F.cross_entropy(self._scale * cosine.scatter(1, labels[:, None], shifted), labels)


def objective_for(
    recipe: Recipe, model: nn.Module, *, classes: int, example: Tensor, teacher: nn.Module | None, seed: int
) -> Objective:
    """The objective that a recipe names.

    Args:
        recipe: how the network is trained.
        model: the network.
        classes: of the training data.
        example: one image (1, C, H, W), on the model's device.
        teacher: what is distilled from; None if there is nothing.
        seed: of what the objective itself starts from.

    Raises:
        MissingTeacherError: if there is no teacher and one is needed.
        SettingsError: if the network or the data do not fit the objective.
    """
    if recipe.objective == "labels":
        return Labels(model)
    if recipe.objective == "distillation":
        if teacher is None:
            raise MissingTeacherError("objective: a base model has no teacher, only a pruned one is distilled from it")
        distillation = Distillation(model, teacher, recipe.feature_layers, recipe.feature_weight)
        _try(distillation, example)
        return distillation
    if classes < 2:
        raise SettingsError("objective: arcface needs labeled faces, these are all of one class")
    with torch.no_grad():
        training = model.training
        output = model.eval()(example)
        model.train(training)
    if output.ndim != 2:
        raise SettingsError(f"objective: arcface needs embeddings (N, D), the network gives {tuple(output.shape)}")
    arcface = ArcFace(model, classes, output.shape[1], margin=recipe.margin, scale=recipe.scale).to(example.device)
    arcface.draw(torch.Generator().manual_seed(seed))
    return arcface


@torch.no_grad()
def _try(objective: Distillation, example: Tensor) -> None:
    """Raise an error about layers of different widths before anything is trained."""
    training = objective.model.training
    objective.eval()
    objective(example, torch.zeros(1, dtype=torch.int64, device=example.device))
    objective.model.train(training)


def _share(found: Tensor, wanted: Tensor, name: str = "the output") -> Tensor:
    if found.shape != wanted.shape:
        shapes = f"{tuple(found.shape[1:])} and {tuple(wanted.shape[1:])}"
        raise SettingsError(f"distillation: {name} is of two widths in network and teacher, {shapes}")
    return relative_squared_error(found, wanted)
