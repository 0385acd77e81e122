"""The networks of the study: of each library how one is made, and how large its images are."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

LIBRARIES = ("torchvision", "timm", "transformers", "ultralytics")
CLASSES = 10
"""Classes of every network, where the library takes a number."""


@dataclass(frozen=True)
class Network:
    """A network and its images.

    Attributes:
        name: in the table, after the library.
        library: the package that it is from.
        make: builds the network.
        size: height and width of the images, in pixels.
        frames: of a video, shape (3, frames, size, size); 0 for images.
    """

    name: str
    library: str
    make: Callable[[], nn.Module] = field(repr=False)
    size: int = 64
    frames: int = 0

    @property
    def key(self) -> str:
        """The library and the name."""
        return f"{self.library}/{self.name}"

    def build(self) -> nn.Module:
        """The network in eval mode, its weights random and the same each time."""
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.make().eval()

    def images(self, count: int) -> Tensor:
        """(count, 3, size, size), of a video (count, 3, frames, size, size): blurred noise, normalized."""
        generator = torch.Generator().manual_seed(1)
        side = max(4, self.size // 4)
        coarse = torch.randn(count, 3 * max(1, self.frames), side, side, generator=generator)
        images = nn.functional.interpolate(coarse, size=self.size, mode="bilinear")
        return images.unflatten(1, (3, self.frames)) if self.frames else images


def catalog() -> dict[str, Network]:
    """All networks by key, in the order of the table. Nothing is built or imported."""
    networks = [*_transformers(), *_ultralytics(), *_timm(), *_torchvision()]
    return {network.key: network for network in networks}


_CLASSIFIERS = (
    "squeezenet1_1 mobilenet_v3_small mnasnet0_5 shufflenet_v2_x0_5 mobilenet_v2 resnet18 regnet_y_400mf "
    "efficientnet_b0 googlenet densenet121 inception_v3 resnext50_32x4d convnext_tiny swin_t alexnet vgg11_bn"
)
_SEGMENTATION = "lraspp_mobilenet_v3_large deeplabv3_mobilenet_v3_large"
_DETECTORS = {
    "FasterRCNN": "faster_rcnn:FasterRCNN",
    "MaskRCNN": "mask_rcnn:MaskRCNN",
    "KeypointRCNN": "keypoint_rcnn:KeypointRCNN",
    "RetinaNet": "retinanet:RetinaNet",
    "FCOS": "fcos:FCOS",
}


def _torchvision() -> list[Network]:
    sizes = {"alexnet": 63, "inception_v3": 75}
    transformer = {"image_size": 64, "patch_size": 8, "num_layers": 4, "num_heads": 4, "hidden_dim": 128}
    maxvit = {"input_size": (64, 64), "stem_channels": 16, "partition_size": 2, "block_channels": [16, 32, 64]}
    maxvit |= {"block_layers": [1, 1, 1], "head_dim": 16, "stochastic_depth_prob": 0.0}
    made = {
        "VisionTransformer": _call("torchvision.models:VisionTransformer", mlp_dim=256, **transformer),
        "MaxVit": _call("torchvision.models:MaxVit", num_classes=CLASSES, **maxvit),
        **{name: _detector(function) for name, function in _DETECTORS.items()},
    }
    return [
        *(Network(name, "torchvision", _torchvision_model(name), sizes.get(name, 64)) for name in _CLASSIFIERS.split()),
        *(Network(name, "torchvision", _torchvision_model(name, True)) for name in _SEGMENTATION.split()),
        *(Network(name, "torchvision", make) for name, make in made.items()),
        Network(
            "ssdlite320_mobilenet_v3_large",
            "torchvision",
            _torchvision_model("ssdlite320_mobilenet_v3_large", True),
            320,
        ),
    ]


def _torchvision_model(name: str, backbone: bool = False) -> Callable[[], nn.Module]:
    options: dict[str, Any] = {"weights": None, "num_classes": CLASSES}
    if backbone:
        options["weights_backbone"] = None
    if name in ("googlenet", "inception_v3"):
        options |= {"init_weights": False}
    return _call("torchvision.models:get_model", name, **options)


def _detector(function: str) -> Callable[[], nn.Module]:
    """A detector on the pyramid of a ResNet-18 whose norms are frozen, as in those with trained weights."""

    def make() -> nn.Module:
        pyramid = _call(
            "torchvision.models.detection.backbone_utils:resnet_fpn_backbone", backbone_name="resnet18", weights=None
        )
        options = {"num_classes": CLASSES, "min_size": 64, "max_size": 64}
        return _call(f"torchvision.models.detection.{function}", pyramid(), **options)()

    return make


_TIMM = (
    "test_byobnet test_convnext test_mambaout test_nfnet test_vit lcnet_035 starnet_s050 "
    "mobilenetv3_small_050 dla46_c mobilevit_xxs repghostnet_050 edgenext_xx_small ghostnet_050 "
    "ese_vovnet19b_slim_dw efficientvit_b0 efficientvit_m0 regnetx_002 cspnext_tiny "
    "mobilenetv4_conv_small fasternet_t0 iformer_t mixnet_s cs3darknet_focus_s lcnetv2_small "
    "xcit_nano_12_p16_224 swiftformer_xs inception_next_atto fastvit_t8 convnextv2_atto "
    "efficientnet_lite0 pvt_v2_b0 rexnet_100 hardcorenas_b hgnetv2_b0 repvit_m1 cpubone_nano resnet10t "
    "tiny_vit_5m_224 efficientvim_m1 shvit_s1 crossvit_tiny_240 densenet121 repvgg_a0 dpn48b resnest14d "
    "hrnet_w18_small resnetv2_18 legacy_seresnet18 poolformer_s12 skresnet18 lowformer_b0 "
    "res2net50_14w_8s mvitv2_tiny "
)
# These take the size of their images when they are made.
_TIMM_SIZED = (
    "test_coatnet test_vit_relpos efficientformerv2_s0 pit_ti_224 gmlp_ti16_224 coat_tiny "
    "vit_tiny_r_s16_p8_224 levit_128s visformer_tiny gcvit_xxtiny resmlp_12_224 nest_tiny mixer_s32_224 "
    "vitamin_small_224 "
)
_TIMM_SMALLER: dict[str, dict[str, Any]] = {
    "beit_base_patch16_224": {"embed_dim": 96, "depth": 3, "num_heads": 3, "img_size": 64},
    "cait_xxs24_224": {"depth": 4, "img_size": 64},
    "convit_tiny": {"depth": 4, "local_up_to_layer": 3, "img_size": 64},
    "davit_tiny": {"depths": (1, 1, 2, 1), "embed_dims": (24, 48, 96, 192)},
    "deit_tiny_patch16_224": {"depth": 4, "img_size": 64},
    "vit_tiny_patch16_dinov3_qkvb": {"depth": 4},
    "hiera_tiny_224": {"embed_dim": 32, "img_size": 64},
    "swin_tiny_patch4_window7_224": {
        "embed_dim": 32,
        "depths": (1, 1, 2, 1),
        "num_heads": (1, 2, 4, 8),
        "img_size": 64,
    },
    "swinv2_tiny_window8_256": {"embed_dim": 32, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 4, 8), "img_size": 64},
    "twins_svt_small": {"embed_dims": (32, 64, 96, 128), "depths": (1, 1, 2, 1)},
    "samvit_base_patch16_224": {"embed_dim": 96, "depth": 3, "num_heads": 3, "global_attn_indexes": (2,)},
}


def _timm() -> list[Network]:
    options: dict[str, dict[str, Any]] = {
        **_TIMM_SMALLER,
        **{name: {} for name in _TIMM.split()},
        **{name: {"img_size": 64} for name in _TIMM_SIZED.split()},
    }
    return [Network(name, "timm", _timm_model(name, **options[name])) for name in options]


def _timm_model(name: str, **options: Any) -> Callable[[], nn.Module]:
    return _call("timm:create_model", name, num_classes=CLASSES, **options)


_HEADS = {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 192}
_PATCHES = {"image_size": 64, "patch_size": 8}


def _transformers() -> list[Network]:
    resnet = {"embedding_size": 32, "hidden_sizes": [32, 64, 96, 128], "depths": [1, 1, 1, 1]}
    stages = {"depths": [1, 1, 2, 1], "num_labels": CLASSES}
    models: dict[str, tuple[str, dict[str, Any]]] = {
        "ViT": ("ViTForImageClassification", {**_HEADS, **_PATCHES}),
        "DeiT": ("DeiTForImageClassificationWithTeacher", {**_HEADS, **_PATCHES}),
        "BEiT": ("BeitForImageClassification", {**_HEADS, **_PATCHES}),
        "DINOv2": ("Dinov2ForImageClassification", {**_HEADS, **_PATCHES}),
        "Swin": ("SwinForImageClassification", {**_SWIN, **stages}),
        "Swin v2": ("Swinv2ForImageClassification", {**_SWIN, **stages}),
        "ConvNeXt": ("ConvNextForImageClassification", {"hidden_sizes": [24, 48, 96, 128], **stages}),
        "ConvNeXt v2": ("ConvNextV2ForImageClassification", {"hidden_sizes": [24, 48, 96, 128], **stages}),
        "ResNet": ("ResNetForImageClassification", {**resnet, "layer_type": "basic", "num_labels": CLASSES}),
        "RegNet": ("RegNetForImageClassification", {**resnet, "groups_width": 16, "num_labels": CLASSES}),
        "MobileNet v2": ("MobileNetV2ForImageClassification", {"image_size": 64, "depth_multiplier": 0.5}),
        "MobileViT": ("MobileViTForImageClassification", {"image_size": 64, "num_labels": CLASSES, **_MOBILEVIT}),
        "SegFormer": ("SegformerForSemanticSegmentation", {"num_labels": CLASSES, "decoder_hidden_size": 64}),
        "SegFormer (classifier)": ("SegformerForImageClassification", {"num_labels": CLASSES}),
        "PVT": ("PvtForImageClassification", {"image_size": 64, "num_labels": CLASSES}),
        "PoolFormer": ("PoolFormerForImageClassification", {"hidden_sizes": [32, 64, 96, 128], **stages}),
        "LeViT": ("LevitForImageClassification", {"image_size": 64, "num_labels": CLASSES}),
        "DPT": ("DPTForDepthEstimation", {**_HEADS, **_PATCHES, "num_hidden_layers": 4, **_DPT}),
        "UPerNet": (
            "UperNetForSemanticSegmentation",
            {"num_labels": CLASSES, "hidden_size": 64, "pool_scales": [1, 2]},
        ),
        "DETR": ("DetrForObjectDetection", {"num_queries": 10, **_DETR}),
        "YOLOS": ("YolosForObjectDetection", {**_HEADS, "image_size": [64, 64], "patch_size": 8}),
    }
    return [Network(name, "transformers", _transformers_model(*entry)) for name, entry in models.items()]


_SWIN = {"image_size": 64, "patch_size": 2, "embed_dim": 24, "num_heads": [2, 2, 4, 4], "window_size": 4}
_MOBILEVIT = {"hidden_sizes": [48, 64, 80], "neck_hidden_sizes": [16, 24, 32, 48, 64, 80, 160]}
_DPT = {"backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [24, 48, 64, 96], "fusion_hidden_size": 48}
_DETR = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "num_labels": CLASSES,
}


def _transformers_model(name: str, options: dict[str, Any]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        library: Any = import_module("transformers")
        settings = dict(options)
        if name.startswith(("Detr", "UperNet")):
            features = ["stage1", "stage2", "stage3", "stage4"][-1 if name.startswith("Detr") else 0 :]
            resnet = {"embedding_size": 32, "hidden_sizes": [32, 64, 96, 128], "depths": [1, 1, 1, 1]}
            settings["backbone_config"] = library.ResNetConfig(out_features=features, layer_type="basic", **resnet)
        if name.startswith("Detr"):
            settings |= {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None}
        if name.startswith("UperNet"):
            settings["auxiliary_in_channels"] = 96
        model: Any = getattr(library, name)
        return model(model.config_class(**settings))

    return make


def _ultralytics() -> list[Network]:
    files = ("yolov5n.yaml", "yolov8n.yaml", "yolo11n.yaml", "yolov8n-seg.yaml", "yolov8n-cls.yaml")
    return [Network(file.removesuffix(".yaml"), "ultralytics", _yolo(file)) for file in files]


def _yolo(file: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        model = import_module("ultralytics").YOLO(file).model
        assert isinstance(model, nn.Module)
        return model

    return make


def _call(function: str, *args: Any, **options: Any) -> Callable[[], nn.Module]:
    """A function that calls another by ``module:name`` and imports it then."""
    module, name = function.split(":")

    def make() -> nn.Module:
        found = getattr(import_module(module), name)(*args, **options)
        assert isinstance(found, nn.Module)
        return found

    return make
