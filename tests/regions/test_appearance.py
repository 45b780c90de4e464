"""What the appearance tells of a region."""

from __future__ import annotations

import numpy as np
import torch

from vlp.regions.appearance import COLOUR, TEXTURE, appearance, structure_tensor

BOX = [torch.tensor([[20.0, 20.0, 60.0, 60.0]])]
WHOLE_ENERGY, WHOLE_COHERENCE = COLOUR, COLOUR + 1


def _numbers(image_3HW: torch.Tensor) -> torch.Tensor:
    return appearance(image_3HW[None], torch.zeros(1, 4, 40, 40), BOX)[0]


def _waves(turn: float, crossed: bool) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(80.0), torch.arange(80.0), indexing="ij")
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    wave = torch.sin(along * 2 * np.pi / 8)
    wave = wave * torch.sin(across * 2 * np.pi / 8) if crossed else wave
    return (0.5 + 0.4 * wave).expand(3, -1, -1).clone()


def test_sizes() -> None:
    assert _numbers(torch.rand(3, 80, 80)).shape == (COLOUR + TEXTURE + 4,)
    assert appearance(torch.rand(1, 3, 80, 80), torch.zeros(1, 4, 40, 40), [torch.zeros(0, 4)]).shape == (0, 36)


def test_plain_colour() -> None:
    image = torch.tensor([1.0, 0.5, 0.0]).view(3, 1, 1).expand(3, 80, 80).clone()
    numbers = _numbers(image)
    torch.testing.assert_close(numbers[:3], torch.tensor([1.0, 0.5, 0.0]))
    torch.testing.assert_close(numbers[3:6], torch.zeros(3), atol=1e-6, rtol=0)
    shares = numbers[12:20]
    torch.testing.assert_close(shares.sum(), torch.tensor(1.0))
    # half red (1,0,0), half yellow (1,1,0)
    torch.testing.assert_close(shares[[1, 3]], torch.tensor([0.5, 0.5]))


def test_two_colours_differ_from_their_mean() -> None:
    halves = torch.zeros(3, 80, 80)
    halves[0, :, :40], halves[2, :, 40:] = 1, 1
    mean = torch.tensor([0.5, 0.0, 0.5]).view(3, 1, 1).expand(3, 80, 80).clone()
    assert (_numbers(halves)[12:20] - _numbers(mean)[12:20]).abs().max() > 0.2


def test_stripes_are_coherent_at_any_angle_and_crossed_waves_are_not() -> None:
    for turn in (0.0, 0.4, 1.1, 2.5):
        assert _numbers(_waves(turn, crossed=False))[WHOLE_COHERENCE] > 0.7
        assert _numbers(_waves(turn, crossed=True))[WHOLE_COHERENCE] < 0.3
    plain = torch.full((3, 80, 80), 0.5)
    assert _numbers(plain)[WHOLE_ENERGY] < _numbers(_waves(0.3, crossed=True))[WHOLE_ENERGY] - 1


def test_structure_tensor_adds_opposite_gradients() -> None:
    image = torch.zeros(1, 3, 20, 20)
    image[..., 8:12] = 1  # a vertical bar: a rising and a falling edge
    energy, double_x, double_y = structure_tensor(image)[0].sum((1, 2))
    torch.testing.assert_close(double_x, energy)
    torch.testing.assert_close(double_y, torch.tensor(0.0))
