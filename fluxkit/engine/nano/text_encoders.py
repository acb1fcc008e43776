"""The text encoders of `nano`: frozen random networks with fixed vocabularies that no caption was used for.

They carry no meaning. They only tell captions apart, which is what a study of tuning needs from them.
"""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

WIDTH = 64
"""Of the embeddings of both encoders."""

CLIP_LENGTH, T5_LENGTH = 77, 32
"""Most tokens per caption, by which the pipeline knows them: `model_max_length` of its tokenizers."""

# Frequent English letter groups and common words, written down once as a general vocabulary.
LETTER_GROUPS = """
th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve co me de hi ri
ro ic ne ea ra ce li ch ll be ma si om ur ca el ta la ns di fo ho pe ec pr no ct us ac ot il tr ly nc et ut
ss so rs un lo wa ge ie wh ee wi em ad ol rt po we na ul ni ts mo ow pa im mi ai sh ir su id os iv ia am fi
ci vi pl ig tu ev ld ry mp fe bl ab gh ty op wo sa ay ex ke ck oo gr cl dr sk sp br cr fl gl sc sm sn sw tw
ph qu ght ing ion ent ter ate ness ment able ful less est ous ive ity tion ther ance ence ish
"""
COMMON_WORDS = """
the of and to in a is that it was for on are as with his they at be this from have or by one had not but
what all were when we there can an your which their said if do will each about how up out them then she many
some so these would other into has more her two like him see time could no make than first been its who now
people my made over did down only way find use may water long little very after words called just where most
know get through back much before go good new write our used me man too any day same right look think also
around another came come work three word must because does part even place well such here take why things
help put years different away again off went old number great tell men say small every found still between
name should home big give air line set own under read last never us left end along while might next sound
below saw something thought both few those always looked show large often together asked house world going
want school important until form food keep children feet land side without boy once animals life enough took
sometimes four head above kind began almost live page got earth need far hand high year mother light parts
country father let night following picture being study second eyes soon times story boys since white days
ever paper hard near sentence better best across during today others however sure means knew try told young
miles sun ways thing whole hear example heard several change answer room sea against top turned learn point
city play toward five using himself usually money seen car morning given trees i red blue green yellow black
gray grey brown orange pink purple dark bright pale clear soft flat round square open closed wide thin thick
photo photograph image drawing painting sketch portrait view scene close background front wall floor table
chair door window street road bridge building tower field grass tree flower leaf forest mountain river lake
beach sky cloud rain snow fire smoke stone rock sand wood metal glass gold silver cloth bird dog cat horse
cow fish bear sheep woman girl child baby face hair eye mouth arm leg body hat coat dress shoe suit shirt
bag box cup bottle bowl plate knife spoon bread fruit apple egg milk tea coffee sugar ball wheel boat ship
train plane rocket bicycle clock watch camera lamp book letter map flag key bed garden park farm market shop
space star moon planet machine engine robot computer phone style color colour pattern shape shadow sitting
standing running flying looking holding wearing
"""


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
    parts = [*characters, *LETTER_GROUPS.split(), *COMMON_WORDS.split()]
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
    words = COMMON_WORDS.split()
    chosen = torch.randint(len(words), (256, 7), generator=generator).tolist()
    texts = [" ".join(words[index] for index in row) for row in chosen]
    tokens = tokenizer(texts, padding="max_length", max_length=CLIP_LENGTH, truncation=True, return_tensors="pt")
    pooled_NP = encoder(tokens.input_ids).pooler_output
    norm = next(module for name, module in encoder.named_modules() if name.endswith("final_layer_norm"))
    norm.weight.copy_(1 / pooled_NP.std(0))
    norm.bias.copy_(-pooled_NP.mean(0) / pooled_NP.std(0))
