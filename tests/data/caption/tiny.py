"""Captioners of transformers with random weights, small enough for a test; and photos for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.regions.tiny_models import picture

WORDS = ["a", "the", "man", "dog", "cat", "rides", "big", "red", "wave", "on", "in", "of", "what", "is", "this"]
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "<image>"]
_CHAT = "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %} {{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"  # noqa: E501


def photos(folder: Path, count: int) -> Path:
    """`count` photos, all of other sizes; number 3 is cut short."""
    folder.mkdir(parents=True)
    for i in range(count):
        picture(50 + 7 * i, 60, seed=i).save(folder / f"{i}.png")
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:200])
    return folder


def directory(kind: str, folder: Path) -> Path:
    """A saved `blip`, `git`, `vision-encoder-decoder` (processor and tokenizer apart) or `llava` (a chat)."""
    import transformers

    tf: Any = transformers  # its signatures are made at run time
    torch.manual_seed(3)
    folder.mkdir(parents=True)
    tokenizer = _tokenizer(tf, folder)
    side = {"height": 32, "width": 32}
    ids: dict[str, Any] = {"vocab_size": len(tokenizer), "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    small: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    seen = {**small, "image_size": 32, "patch_size": 16}
    wide: dict[str, Any] = {"initializer_range": 0.5}  # texts that differ from image to image
    if kind == "blip":
        text = {**small, **ids, **wide, "encoder_hidden_size": 32, "sep_token_id": 3, "is_decoder": True}
        config = tf.BlipConfig(text_config=text, vision_config=seen | wide, projection_dim=16)
        model, images = tf.BlipForConditionalGeneration(config), tf.BlipImageProcessor(size=side)
        tf.BlipProcessor(images, tokenizer).save_pretrained(folder)
    elif kind == "git":
        model = tf.GitForCausalLM(tf.GitConfig(vision_config=seen | wide, **small, **ids, **wide))
        images = tf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=side)
        tf.GitProcessor(images, tokenizer).save_pretrained(folder)
    elif kind == "llava":
        text = tf.LlamaConfig(**small, **ids, **wide)
        config = tf.LlavaConfig(
            vision_config=tf.CLIPVisionConfig(**seen, **wide), text_config=text, image_token_index=4, image_seq_length=4
        )
        model = tf.LlavaForConditionalGeneration(config)
        images = tf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=side)
        tf.LlavaProcessor(
            images,
            tokenizer,
            patch_size=16,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            chat_template=_CHAT,
        ).save_pretrained(folder)
    else:
        words = tf.BertConfig(**small, **ids, **wide, is_decoder=True, add_cross_attention=True)
        config = tf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(tf.ViTConfig(**seen, **wide), words)
        config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 2, 0, 3
        model = tf.VisionEncoderDecoderModel(config)
        model.generation_config.min_new_tokens = 2  # it always says something
        tf.ViTImageProcessor(size=side).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def _tokenizer(tf: Any, folder: Path) -> Any:
    path = folder / "vocab.txt"
    path.write_text("\n".join([*_SPECIAL, *WORDS]), encoding="utf-8")
    return tf.BertTokenizer(str(path), additional_special_tokens=["<image>"])
