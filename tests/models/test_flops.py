"""Formulas against the products that torch counts."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vlp.models import flops


def test_a_stack_of_layers_costs_what_its_products_do() -> None:
    h, f, lengths = 8, 12, (3, 5)
    widths = [(h, h)] * 4 + [(h, f), (f, h)]
    products = [nn.Linear(i, o, bias=False) for i, o in widths]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for n in lengths * 2:  # of two layers
            for product in products:
                product(torch.zeros(n, product.in_features))
            q = torch.zeros(1, n, h)
            torch.bmm(torch.bmm(q, q.transpose(1, 2)), q)
    assert flops.encoder(h, f, 2, np.array(lengths)) == counter.get_total_flops()


def test_the_last_layer_of_cls_alone_costs_less() -> None:
    whole, cls = (flops.encoder(8, 12, 2, np.array([3, 5]), cls_only) for cls_only in (False, True))
    assert flops.encoder(8, 12, 1, np.array([3, 5])) < cls < whole


def test_a_part_that_reads_data_passes_no_gradient_on() -> None:
    assert flops.training({"text": 2.0, "patches": 2.0}, ("patches",)) == {"text": 6.0, "patches": 4.0}
    assert flops.vocabulary_head(4, 3, 10) == 2 * 3 * 4 * 4 + 2 * 3 * 4 * 10
