"""The model as transformers knows it: `import vlp.infer.auto`, then AutoConfig and AutoModel find it.

Apart from mvptr.py because importing transformers takes seconds, which no training process needs to spend.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils.generic import ModelOutput

from vlp.files import open_to_others
from vlp.finite import demand_tensors
from vlp.methods.mvptr import directory as own
from vlp.methods.mvptr.batch import Batch
from vlp.methods.mvptr.model import Architecture, Mvptr
from vlp.models import directory
from vlp.models.layers import initialise


class MvptrConfig(PretrainedConfig):
    """The fields of `Architecture`, by the same names."""

    model_type = "mvptr"

    def __init__(self, **values: Any) -> None:
        own = {k: values.pop(k) for k in Architecture.model_fields if k in values}
        super().__init__(**values)
        for key, value in own.items():
            setattr(self, key, value)

    @property
    def architecture(self) -> Architecture:
        return Architecture(**{k: getattr(self, k) for k in Architecture.model_fields if hasattr(self, k)})


@dataclass
class MvptrOutput(ModelOutput):
    """States of B pairs; see `Batch` for the sequences."""

    text_states: Tensor | None = None
    """[B,L,D]"""
    visual_states: Tensor | None = None
    """[B,T+R,D]: tags, then regions."""
    multimodal_states: tuple[Tensor, ...] | None = None
    """[B,L+R,D] after each layer."""
    similarity: Tensor | None = None
    """[B,B] cosines, rows images, columns texts (paper 3.3.1)."""
    itm_logits: Tensor | None = None
    """[B,2]: 0 is match."""
    logits: Tensor | None = None
    """Of the task head: answers or entailment classes."""
    attentions: dict[str, list[Tensor]] | None = None
    """Maps [B,H,L,L] of each layer of `text`, `visual`, `multimodal`, where asked for."""


class MvptrModel(Mvptr, PreTrainedModel):
    """MVPTR with transformers' `from_pretrained`, `save_pretrained`, `push_to_hub`.

    A directory that training wrote loads as it is, and what is saved here loads in `vlp`: same files, same keys.
    `save_pretrained` takes tokenizer, phrase vocabulary and the description of the inputs along.
    """

    config_class = MvptrConfig
    base_model_prefix = ""
    main_input_name = "text_ids_BL"

    def __init__(self, config: MvptrConfig) -> None:
        PreTrainedModel.__init__(self, config)
        self.build(config.architecture)
        self.post_init()

    @classmethod
    def from_pretrained(cls, name: Any, *args: Any, **kwargs: Any) -> Any:
        """As transformers', also of a directory that an earlier version wrote, with other names of the heads.

        Raises:
            InputError: a weight is not finite; the word pieces or phrases beside it are not those of its rows.
        """
        file = Path(str(name)) / directory.WEIGHTS
        if file.is_file():
            with safe_open(file, "pt") as tensors:
                old = [k for k in tensors.keys() if own.renamed(k) != k]  # noqa: SIM118  (no mapping)
            if old:
                kwargs.setdefault("key_mapping", {f"^{re.escape(k)}$": own.renamed(k) for k in old})
        found = super().from_pretrained(name, *args, **kwargs)
        model = found[0] if isinstance(found, tuple) else found  # with output_loading_info
        demand_tensors(model.state_dict(), file, "Make or fetch the model again.")
        if (file.parent / "tokenizer").is_dir():
            directory.check_words(model, file.parent)
        return found

    def _init_weights(self, module: Any) -> None:
        initialise(module)

    def get_input_embeddings(self) -> Any:
        return self.embeddings

    def forward(self, batch: Batch, output_attentions: bool = False) -> MvptrOutput:
        """One pass over the batch's own pairs."""
        states = self.unimodal(batch)
        layers = self.joint(batch, states=states)
        output = MvptrOutput(states.text_BLD, states.visual_BND, tuple(layers))
        if self.architecture.fusion == "separate":
            text, image = self.contrast_vectors(states)
            output.similarity = image @ text.T
        output.itm_logits = self.itm_logits(layers[-1])
        if self.architecture.head == "vqa":
            output.logits = self.answer_logits(layers[-1])
        elif self.architecture.head in ("entailment", "classes"):
            output.logits = self.class_logits(layers[-1])
        if output_attentions:
            output.attentions = self.attention_maps(batch, states)
        return output

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        demand_tensors(self.state_dict(), Path(save_directory) / directory.WEIGHTS, "It is not written.")
        super().save_pretrained(save_directory, *args, **kwargs)
        for file in Path(save_directory).glob("*.safetensors"):
            open_to_others(file)
        source, target = Path(self.config.name_or_path or ""), Path(save_directory)
        if not source.is_dir() or source.resolve() == target.resolve():
            return
        for name in (*directory.COMPANIONS, *own.COMPANIONS):
            if (source / name).is_dir():
                shutil.copytree(source / name, target / name, dirs_exist_ok=True)
            elif (source / name).is_file():
                shutil.copyfile(source / name, target / name)


AutoConfig.register("mvptr", MvptrConfig)
AutoModel.register(MvptrConfig, MvptrModel)
