"""The network of the mini detector: torchvision's FCOS on a small residual backbone, for scenes of 128 pixels.

Its size is chosen so that one CPU core trains it in under an hour. The finest stride is 8: a box of 16 pixels, the
least of the mini world, still covers four locations.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOS, FCOSClassificationHead, FCOSHead, FCOSRegressionHead

from radl_bench.scoring.protocol import FLOOR

if TYPE_CHECKING:
    from typing_extensions import Unpack

SIZE = 128
NMS = 0.65


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, act: bool = True) -> nn.Sequential:
    """Convolution and batch norm (free at inference, cheap on a CPU), with ReLU if `act`."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if act else nn.Sequential(*layers)


class Residual(nn.Module):
    """Two 3x3 convolutions and a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(width, width), conv(width, width, act=False))

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, H, W] -> the same."""
        return torch.relu(x + self.body(x))


def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(conv(inputs, outputs, stride=2), *(Residual(outputs) for _ in range(blocks)))


class BackboneSettings(TypedDict, total=False):
    """Arguments of `Backbone`."""

    widths: Sequence[int]
    blocks: Sequence[int]
    out_channels: int


class NetworkSettings(BackboneSettings, total=False):
    """Arguments of `build` beside the number of classes."""

    head_convs: int
    radius: float


class Backbone(nn.Module):
    """Residual stages at strides 4, 8 and 16 with a top-down path; feature maps at strides 8, 16 and 32.

    Args:
        widths: channels of the stem and of the three stages.
        blocks: residual blocks of the three stages.
        out_channels: channels of every feature map.
    """

    def __init__(
        self, widths: Sequence[int] = (24, 48, 80, 128), blocks: Sequence[int] = (1, 3, 2), out_channels: int = 80
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.stem = conv(3, widths[0], stride=2)
        self.stages = nn.ModuleList(_stage(a, b, n) for a, b, n in zip(widths, widths[1:], blocks, strict=False))
        self.lateral8 = conv(widths[2], out_channels, 1, act=False)
        self.lateral16 = conv(widths[3], out_channels, 1, act=False)
        self.smooth8 = conv(out_channels, out_channels)
        self.down32 = conv(widths[3], out_channels, stride=2)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """[B, 3, H, W], sides multiples of 32 -> maps [B, out_channels, H/s, W/s] at strides s = 8, 16, 32."""
        x = self.stages[0](self.stem(x.contiguous(memory_format=torch.channels_last)))
        c8 = self.stages[1](x)
        c16 = self.stages[2](c8)
        p16 = self.lateral16(c16)
        up = nn.functional.interpolate(p16, scale_factor=2.0, mode="nearest")
        p8 = self.smooth8(torch.relu(self.lateral8(c8) + up))
        return OrderedDict([("8", p8), ("16", torch.relu(p16)), ("32", self.down32(c16))])


class Head(FCOSHead):
    """FCOS heads without norm, whose outputs and losses stay in float32 under autocast.

    Group norm would take a seventh of the training time; the maps come out of batch norm and He's initialisation keeps
    their scale instead.
    """

    def __init__(self, channels: int, num_classes: int, num_convs: int) -> None:
        super().__init__(channels, 1, num_classes, 0)
        self.classification_head = FCOSClassificationHead(channels, 1, num_classes, num_convs, norm_layer=nn.Identity)
        self.regression_head = FCOSRegressionHead(channels, 1, num_convs, norm_layer=nn.Identity)
        for branch in (self.classification_head.conv, self.regression_head.conv):
            for layer in branch:
                if isinstance(layer, nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        # Distances leave through a ReLU: started at zero, as in torchvision, one of the four edges may never wake up.
        nn.init.constant_(self.regression_head.bbox_reg.bias, 4.0)

    def forward(self, x: list[Tensor]) -> dict[str, Tensor]:
        """See `FCOSHead.forward`."""
        return {name: value.float() for name, value in super().forward(x).items()}

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        """See `FCOSHead.compute_loss`."""
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return super().compute_loss(targets, head_outputs, anchors, matched_idxs)


class Contested(FCOS):
    """FCOS whose classes contest each location.

    FCOS scores every class by itself, and of two that look alike it reports both. Here a class that is weaker than
    another one at the same location loses what it lacks.
    """

    def postprocess_detections(
        self, head_outputs: dict[str, list[Tensor]], anchors: list[list[Tensor]], image_shapes: list[tuple[int, int]]
    ) -> list[dict[str, Tensor]]:
        """See `FCOS.postprocess_detections`."""
        contested = {**head_outputs, "cls_logits": [contest(logits) for logits in head_outputs["cls_logits"]]}
        return super().postprocess_detections(contested, anchors, image_shapes)


def contest(logits: Tensor) -> Tensor:
    """Logits [..., classes] of probabilities p -> those of p^2 / max p: p times its ratio to the strongest one's."""
    log_p = nn.functional.logsigmoid(logits)
    log_q = 2 * log_p - log_p.amax(dim=-1, keepdim=True)
    return log_q - torch.log(-torch.expm1(log_q))


def build(num_classes: int, head_convs: int = 1, radius: float = 3.5, **backbone: Unpack[BackboneSettings]) -> FCOS:
    """Return the untrained detector for images of 128x128 (FCOS: Tian et al., arXiv 2006.09214).

    Anchor sizes are half the strides: FCOS derives the size range of a level from them, so boxes up to about 50 pixels
    go to stride 8, up to about 110 to stride 16. `radius` (in anchor sizes) is wide, or a small thing on top of a large
    one would take all the locations of the large one.

    Args:
        num_classes: classes without background; labels count from 0.
        head_convs: convolutions of each head.
        backbone: arguments of `Backbone`.
    """
    body = Backbone(**backbone)
    return Contested(
        body,
        num_classes,
        min_size=SIZE,
        max_size=SIZE,
        image_mean=[0.5] * 3,
        image_std=[0.25] * 3,
        anchor_generator=AnchorGenerator(((4,), (8,), (16,)), ((1.0,),) * 3),
        head=Head(body.out_channels, num_classes, head_convs),
        center_sampling_radius=radius,
        score_thresh=FLOOR,
        nms_thresh=NMS,
        detections_per_img=300,
        _skip_resize=True,
    ).to(memory_format=torch.channels_last)
