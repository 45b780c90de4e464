"""What a step computes: the stage's contrast with a momentum copy and queues, and each task's loss."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.methods.toy.batch import Batch
from tests.methods.toy.model import Toy
from vlp.objectives import LossSum, answers
from vlp.objectives.reduction import precise
from vlp.training.base import Group
from vlp.training.beyond import Momentum, Queue, Several
from vlp.training.schedule import by_shape

IMAGE_SIDE = ("squares", "places", "image")


class Step(nn.Module):
    """`rate`: factor of the learning rate for what reads pixels."""

    def __init__(self, model: Toy, rate: float) -> None:
        super().__init__()
        self.model, self.rate = model, rate

    def groups(self) -> Iterator[Group]:
        """The image side at its own rate; biases and the scale do not decay."""
        for side, rate in ((True, self.rate), (False, 1.0)):
            own = {n: p for n, p in self.named_parameters() if (n.split(".")[1] in IMAGE_SIDE) == side}
            yield from by_shape(own, rate)


class Only(Step):
    """Each image against its text's momentum vector and those of the queue, and the other way round."""

    def __init__(self, model: Toy, rate: float, momentum: float, queue: int) -> None:
        super().__init__(model, rate)
        keys = torch.zeros(queue, model.architecture.size)
        self.beyond = Several(teacher=Momentum(self, "model", momentum), queue=Queue(image=keys, text=keys))

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"contrast": len(batch)}

    def forward(self, batch: Batch) -> dict[str, LossSum]:
        (image_BD, text_BD), scale = self.model.vectors(batch), self.model.scale.exp()
        teacher, queue = self.beyond["teacher"], self.beyond["queue"]
        with torch.no_grad():
            image_key_BD, text_key_BD = teacher.module.vectors(batch)
        queue.offer(image=image_key_BD, text=text_key_BD)
        one = queued(image_BD, text_key_BD, queue["text"][: queue.filled], scale)
        other = queued(text_BD, image_key_BD, queue["image"][: queue.filled], scale)
        return {"contrast": LossSum.of((one + other) / 2, len(batch))}


def queued(query_BD: Tensor, key_BD: Tensor, queue_QD: Tensor, scale: Tensor) -> Tensor:
    """Cross entropy, nats, of each query's own key among those of the queue: the sum."""
    query_BD = precise(query_BD)
    own_B1, others_BQ = (query_BD * key_BD).sum(1, keepdim=True), query_BD @ queue_QD.T
    first = torch.zeros(len(query_BD), dtype=torch.int64, device=query_BD.device)
    return F.cross_entropy(scale * torch.cat([own_B1, others_BQ], 1), first, reduction="sum")


class RetrievalStep(Step):
    """Is it this text's image, or its neighbour's in the batch?"""

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"match": 2 * len(batch)}

    def forward(self, batch: Batch) -> dict[str, LossSum]:
        image_BD, text_BD = self.model.vectors(batch)
        logit_N = self.model.judge(torch.cat([image_BD, image_BD.roll(1, 0)]), text_BD.repeat(2, 1))[:, 0]
        match_N = (torch.arange(len(logit_N), device=logit_N.device) < len(batch)).float()
        loss = F.binary_cross_entropy_with_logits(precise(logit_N), match_N, reduction="sum")
        return {"match": LossSum.of(loss, len(logit_N))}


class VqaStep(Step):
    def counts(self, batch: Batch) -> dict[str, int]:
        return {"answers": len(batch)}

    def forward(self, batch: Batch) -> dict[str, LossSum]:
        assert batch.scores_BA is not None
        return {"answers": answers(self.model.judge(*self.model.vectors(batch)), batch.scores_BA)}


class GroundingStep(Step):
    """The phrases' boxes, regressed."""

    def counts(self, batch: Batch) -> dict[str, int]:
        assert batch.boxed_BG is not None
        return {"boxes": int(batch.boxed_BG.sum())}

    def forward(self, batch: Batch) -> dict[str, LossSum]:
        assert batch.boxes_BG4 is not None and batch.boxed_BG is not None
        error_BG = (precise(self.model.boxes(batch)) - batch.boxes_BG4).abs().sum(-1)
        return {"boxes": LossSum.of(error_BG.masked_fill(~batch.boxed_BG, 0.0).sum(), batch.boxed_BG.sum())}
