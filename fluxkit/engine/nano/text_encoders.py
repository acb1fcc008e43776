"""The text encoders of `nano`: frozen random networks with fixed vocabularies that no caption was used for.

They carry no meaning. They only tell captions apart, which is what a study of tuning needs from them.

N texts, P width of the pooled embeddings.
"""

from importlib import resources
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

WIDTH = 64
"""Of the embeddings of both encoders."""
CLIP_LENGTH, T5_LENGTH = 77, 32
"""Most tokens per caption; a pipeline reads them as `model_max_length` of its tokenizers."""

# Frequent English letter groups and common words, written down once as a general vocabulary.
LETTER_GROUPS, COMMON_WORDS = (
    resources.files("fluxkit.engine.nano").joinpath(name).read_text("utf-8").split()
    for name in ("letter_groups.txt", "common_words.txt")
)


def build_clip(seed: int) -> tuple[Any, Any]:
    """A byte-level CLIPTokenizer and a random CLIPTextModel that tells captions apart.

    Every byte is a token, so that any caption of up to 75 bytes is told from any other.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=CLIP_LENGTH)
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=2 * WIDTH, projection_dim=WIDTH,
        num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=CLIP_LENGTH,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    encoder = CLIPTextModel(config).eval().requires_grad_(requires_grad=False)
    _standardise_pooled(encoder, tokenizer, seed)
    return tokenizer, encoder


def build_t5(seed: int) -> tuple[Any, Any]:
    """A Unigram T5TokenizerFast of characters, letter groups and words, and a random T5EncoderModel.

    Equal scores make the fewest pieces win: whole words where it knows them, letter groups elsewhere.
    """
    characters = [chr(code) for code in range(33, 127)]
    parts = [*characters, *LETTER_GROUPS, *COMMON_WORDS]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0)]
    vocabulary += [(piece, -8.0) for piece in dict.fromkeys(["\u2581", *parts, *("\u2581" + part for part in parts)])]
    tokenizer = T5TokenizerFast(vocab=vocabulary, extra_ids=0, model_max_length=T5_LENGTH)
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=WIDTH, d_kv=16, d_ff=2 * WIDTH, num_layers=2, num_heads=4,
        feed_forward_proj="gated-gelu", is_encoder_decoder=False, use_cache=False, tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return tokenizer, T5EncoderModel(config).eval().requires_grad_(requires_grad=False)


@torch.no_grad()
def _standardise_pooled(encoder: Any, tokenizer: Any, seed: int) -> None:
    """Moves the last norm so that pooled embeddings of random word strings have mean 0 and variance 1.

    A random CLIP maps all texts near one point (cosine .8). The strings are drawn from `COMMON_WORDS`, so no
    caption is used for the remedy.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(COMMON_WORDS), (256, 7), generator=generator).tolist()
    texts = [" ".join(COMMON_WORDS[index] for index in row) for row in chosen]
    tokens = tokenizer(texts, padding="max_length", max_length=CLIP_LENGTH, truncation=True, return_tensors="pt")
    pooled_NP = encoder(tokens.input_ids).pooler_output
    norm = next(module for name, module in encoder.named_modules() if name.endswith("final_layer_norm"))
    norm.weight.copy_(1 / pooled_NP.std(0))
    norm.bias.copy_(-pooled_NP.mean(0) / pooled_NP.std(0))
