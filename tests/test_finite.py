"""Numbers that are not finite are counted and named, whatever holds them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vlp import finite
from vlp.errors import InputError

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_of_every_width(dtype: torch.dtype) -> None:
    x = torch.linspace(-65000, 65000, 12).reshape(3, 4).to(dtype)
    assert finite.bad(x) == 0
    x[0, 0], x[1, 1], x[2, 3] = NAN, INF, -INF
    assert finite.bad(x) == 3 and finite.bad(x.T) == 3 and finite.bad(x[:, ::2]) == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_of_every_width(dtype: Any) -> None:
    x = np.linspace(-65000, 65000, 12).reshape(3, 4).astype(dtype)
    assert finite.bad(x) == 0
    x[0, 0], x[1, 1], x[2, 3] = NAN, INF, -INF
    assert finite.bad(x) == 3 and finite.bad(x.T) == 3 and finite.bad(x[:, ::2]) == 1


@pytest.mark.parametrize(
    ("values", "count"),
    [
        (torch.tensor(NAN), 1),
        (torch.zeros(0), 0),
        (torch.tensor([1, 2]), 0),
        (torch.tensor([True]), 0),
        (torch.tensor([complex(1, NAN)]), 1),
        (torch.tensor([1.0, 2.0]).to(torch.float8_e4m3fn), 0),
        (np.zeros(0), 0),
        (np.array(["a"]), 0),
        (1.5, 0),
        (-INF, 1),
        ([1, NAN, INF], 2),
        (torch.full((4,), torch.finfo(torch.float32).max), 0),
    ],
)
def test_other_values(values: Any, count: int) -> None:
    assert finite.bad(values) == count


def test_the_error_says_where_what_and_how_many() -> None:
    with pytest.raises(InputError, match=r"store\.h5, row a/1: its boxes: 2 of 4 numbers are NaN or infinite\."):
        finite.demand(np.array([[0, NAN, 1, INF]]), "store.h5", "its boxes", "Mend it.", "a/1")
    finite.demand(np.zeros(3), "store.h5", "its boxes", "Mend it.")


def test_tensors_are_named_three_at_most() -> None:
    tensors = {f"layer.{i}": torch.tensor([1.0, NAN]) for i in range(5)} | {"whole": torch.ones(2)}
    with pytest.raises(InputError) as told:
        finite.demand_tensors(tensors, "m/model.safetensors", "Mend it.")
    assert told.value.problem == (
        "has weights that are not finite: layer.0 (1 of 2 numbers is NaN or infinite), layer.1 (1 of 2 numbers is NaN"
        " or infinite), layer.2 (1 of 2 numbers is NaN or infinite) and 2 other tensors."
    )
