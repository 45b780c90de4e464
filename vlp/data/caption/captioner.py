"""Image captioners of transformers: BLIP, GIT, vision-encoder-decoder models, and what chats about an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from vlp.config.data import Captioner as Settings
from vlp.errors import ConfigError, InputError
from vlp.files import sha256
from vlp.finite import demand_tensors, said
from vlp.images.modes import widened
from vlp.local import UNREADABLE, first_line, on_disk

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

WITHOUT_PROMPT = ("git", "vision-encoder-decoder")
"""Model types that get an image alone."""


class Captioner:
    """An `AutoModelForImageTextToText` with its processor; greedy, or by beams: no draw, so the texts repeat."""

    def __init__(self, model: Any, processor: Any, tokenizer: Any, settings: Settings, weights_sha256: str) -> None:
        self._model, self._processor, self._tokenizer = model, processor, tokenizer
        self._prompt, self.device = settings.prompt, settings.device
        self._rule = {"max_new_tokens": settings.max_tokens, "num_beams": settings.beams, "do_sample": False}
        self.facts: dict[str, Any] = {
            "model": settings.model,
            "weights_sha256": weights_sha256,
            "prompt": settings.prompt,
            "max_tokens": settings.max_tokens,
            "beams": settings.beams,
            "transformers": transformers.__version__,
        }
        """What the texts depend on, images and batches apart."""

    @torch.inference_mode()
    def __call__(self, images: Sequence[Image.Image]) -> list[str]:
        """One text for each RGB image, white space made single; "" where the model says nothing.

        Raises InputError: a score of a word is not finite; the model would still say something.
        """
        inputs = self._inputs([widened(image) for image in images])
        ids_BL = self._model.generate(**inputs, **self._rule, logits_processor=[self._demand_finite])
        asked_BL = inputs.get("input_ids")
        if asked_BL is None:
            return self._words(ids_BL)
        if torch.equal(ids_BL[:, : asked_BL.shape[1]], asked_BL):  # a model that repeats the prompt
            return self._words(ids_BL[:, asked_BL.shape[1] :])
        prompts = self._words(asked_BL)  # BLIP repeats it without its last piece
        return [text.removeprefix(p).strip() for text, p in zip(self._words(ids_BL), prompts, strict=True)]

    def _demand_finite(self, ids_BL: Tensor, scores_BV: Tensor) -> Tensor:
        if count := int((scores_BV.isnan() | scores_BV.isposinf()).sum()):  # -inf: a word that is not allowed here
            problem = f"its scores of the next word: {said(count, scores_BV.numel())}."
            raise InputError(str(self.facts["model"]), problem, "Use float32 (device: cpu), or another captioner.")
        return scores_BV

    def _words(self, ids_BL: Tensor) -> list[str]:
        texts = self._tokenizer.batch_decode(ids_BL, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    def _inputs(self, images: list[Image.Image]) -> Any:
        if self._prompt is None:
            found = self._processor(images=images, return_tensors="pt")
        else:
            text = self._prompt
            if getattr(self._processor, "chat_template", None):
                content = [{"type": "image"}, {"type": "text", "text": text}]
                turn = [{"role": "user", "content": content}]
                text = self._processor.apply_chat_template(turn, add_generation_prompt=True)
            texts, pictures = [text] * len(images), [[image] for image in images]
            found = self._processor(images=pictures, text=texts, padding=True, return_tensors="pt")
        return found.to(self.device, self._model.dtype)  # whole numbers stay what they are


def build(settings: Settings) -> Captioner:
    """The captioner of a directory, or of a name that transformers' cache on this disk holds.

    Raises:
        InputError: neither is there; it holds no captioner that this installation can run, or not all of its weights.
        ConfigError: a prompt for a model that takes none, or none for one that chats.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText

    folder = on_disk(settings.model, "captioner")
    cpu = settings.device == "cpu"
    try:
        kind = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
        if settings.prompt is not None and kind in WITHOUT_PROMPT:
            raise ConfigError(f"captioner.prompt: a {kind} model gets an image alone; leave it out")
        processor, tokenizer = _processor(folder)
        dtype = torch.float32 if cpu else "auto"
        read: Any = AutoModelForImageTextToText.from_pretrained
        if settings.prompt is None and getattr(processor, "chat_template", None):
            raise ConfigError(
                f"captioner.prompt: a {kind} model has to be asked something, such as: Describe the image."
            )
        model, loaded = read(folder, local_files_only=True, dtype=dtype, output_loading_info=True)
    except UNREADABLE as error:
        remedy = "Give a whole directory: config.json, preprocessor_config.json, the tokenizer, model.safetensors."
        raise InputError(folder, f"no captioner can be read from it ({first_line(error)}).", remedy) from error
    if lacking := sorted(loaded["missing_keys"]):
        problem = f"{len(lacking)} of the captioner's weights are not in it ({lacking[0]}): it would speak at random."
        raise InputError(folder, problem, "Name a model that was trained to write captions.")
    demand_tensors(model.state_dict(), folder, "Fetch the captioner again.")
    return Captioner(model.eval().to(settings.device), processor, tokenizer, settings, sha256(folder))


def _processor(folder: Path) -> tuple[Any, Any]:
    """What makes inputs, and what reads the output; a directory without a processor of both has the two apart."""
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

    try:
        found: Any = AutoProcessor.from_pretrained(folder, local_files_only=True)
    except UNREADABLE:
        found = None
    if hasattr(found, "tokenizer") and hasattr(found, "image_processor"):
        found.tokenizer.padding_side = "left"  # what is to be continued stands at the end
        return found, found.tokenizer
    images = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    return images, AutoTokenizer.from_pretrained(folder, local_files_only=True)
