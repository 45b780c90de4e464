"""What the pixels inside a box look like: colour, texture, the first layer's channels.

The detector learns class names only, so its head may forget what does not tell classes apart; captions, though, speak
of red and striped things. VinVL's detector has an attribute head for it; here it is read off the pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import roi_align

COLOUR, TEXTURE = 20, 12
_CELLS, _FINE_CELLS = 8, 12
_SMALL = 1e-3
_BINOMIAL = (0.25, 0.5, 0.25)


def appearance(images_B3HW: Tensor, low_BCHW: Tensor, boxes: list[Tensor]) -> Tensor:
    """-> [N, 20 + 12 + C]: `colour`, `texture` and the mean of the first layer's C channels for each of N boxes.

    Args:
        images_B3HW: in [0,1].
        low_BCHW: the first layer, stride 2.
        boxes: for each image [K,4] xyxy, pixels of `images_B3HW`.
    """
    cells_N3PP = roi_align(images_B3HW, boxes, _CELLS, 1.0, 2, True)
    tensor_N3PP = roi_align(structure_tensor(images_B3HW), boxes, _FINE_CELLS, 1.0, 2, True)
    layer_NC = roi_align(low_BCHW, boxes, _CELLS, 0.5, 2, True).mean((2, 3))
    return torch.cat([colour(cells_N3PP), texture(tensor_N3PP), layer_NC], dim=1)


def colour(cells_N3PP: Tensor) -> Tensor:
    """-> [N,20]: mean and deviation of R, G, B in the box (6) and in its middle quarter (6), and how the pixels share
    the corners of the RGB cube by trilinear weights (8): a box of two colours is not taken for one of their mean."""
    cells_N3P = cells_N3PP.flatten(2)
    middle_N3Q = _middle(cells_N3PP).flatten(2)
    shares = []
    for corner in range(8):
        weights = [cells_N3P[:, c] if corner >> c & 1 else 1 - cells_N3P[:, c] for c in range(3)]
        shares.append((weights[0] * weights[1] * weights[2]).mean(-1))
    moments = [moment for part in (cells_N3P, middle_N3Q) for moment in (part.mean(-1), _deviation(part))]
    return torch.cat([*moments, torch.stack(shares, 1)], dim=1)


def texture(tensor_N3PP: Tensor) -> Tensor:
    """-> [N,12], none of which changes when the pattern is turned; of the box and of its middle quarter each:

    log energy, and coherence over the whole (2), mean coherence of windows of 3 and of 5 cells, plain and weighted by
    their energy (4). Coherence is 1 where all gradients lie along one line (stripes), 0 where they point everywhere
    (dots).
    """
    numbers = []
    for part_N3PP in (tensor_N3PP, _middle(tensor_N3PP)):
        energy, coherence = _coherence(part_N3PP.mean((2, 3), keepdim=True))
        numbers += [torch.log(energy + _SMALL).flatten(), coherence.flatten()]
        for window in (3, 5):
            energy, coherence = _coherence(functional.avg_pool2d(part_N3PP, window, stride=1))
            weighted = (coherence * energy).mean((1, 2)) / (energy.mean((1, 2)) + _SMALL)
            numbers += [coherence.mean((1, 2)), weighted]
    return torch.stack(numbers, 1)


def structure_tensor(images_B3HW: Tensor) -> Tensor:
    """-> [B,3,H,W]: gx^2 + gy^2, gx^2 - gy^2, 2 gx gy of the smoothed grey image: the gradient at the double angle, so
    that opposite directions, the two edges of a stripe, add up."""
    grey_B1HW = images_B3HW.mean(1, keepdim=True)
    kernel = grey_B1HW.new_tensor(_BINOMIAL)
    smooth = functional.conv2d(_pad(grey_B1HW), kernel.view(1, 1, 1, 3) * kernel.view(1, 1, 3, 1))
    wide = _pad(smooth)
    gx = wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]
    gy = wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]
    return torch.cat([gx**2 + gy**2, gx**2 - gy**2, 2 * gx * gy], dim=1)


def _coherence(tensor_N3PP: Tensor) -> tuple[Tensor, Tensor]:
    """Energy and coherence of each cell -> twice [N,P,P]."""
    energy = tensor_N3PP[:, 0]
    return energy, (tensor_N3PP[:, 1:].pow(2).sum(1) + 1e-12).sqrt() / (energy + _SMALL)


def _deviation(part_N3P: Tensor) -> Tensor:
    return (part_N3P - part_N3P.mean(-1, keepdim=True)).pow(2).mean(-1).sqrt()


def _middle(cells_NCPP: Tensor) -> Tensor:
    """The cells of the middle quarter of the box."""
    side = cells_NCPP.shape[-1]
    part = slice(side // 4, side - side // 4)
    return cells_NCPP[:, :, part, part]


def _pad(images_B1HW: Tensor) -> Tensor:
    return functional.pad(images_B1HW, (1, 1, 1, 1), mode="replicate")
