"""Makes a FLUX.1-schnell pipeline folder of a few thousand parameters, in its own geometry and layout.

Eight pixels per latent, 16 latent channels, 64 packed, byte-level CLIP and Unigram T5 tokenizers, shift-free scheduler,
weights in bfloat16. Run as a script it writes the folder that it is given, and never imports fluxkit.
"""

from __future__ import annotations

import sys

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from tokenizers import pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

WIDTH = 32


def tokenizers() -> tuple[CLIPTokenizer, T5TokenizerFast]:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    clip = CLIPTokenizer(vocab={word: place for place, word in enumerate(words)}, merges=[], model_max_length=77)
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz .,"]
    return clip, T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=512)


def build(guidance: bool = False) -> FluxPipeline:
    torch.manual_seed(0)
    clip_tokenizer, t5_tokenizer = tokenizers()
    clip = CLIPTextConfig(
        vocab_size=len(clip_tokenizer), hidden_size=WIDTH, intermediate_size=2 * WIDTH, projection_dim=WIDTH,
        num_hidden_layers=2, num_attention_heads=2, bos_token_id=clip_tokenizer.bos_token_id,
        eos_token_id=clip_tokenizer.eos_token_id, pad_token_id=clip_tokenizer.pad_token_id,
    )  # fmt: skip
    t5 = T5Config(
        vocab_size=len(t5_tokenizer), d_model=WIDTH, d_kv=16, d_ff=2 * WIDTH, num_layers=2, num_heads=2,
        feed_forward_proj="gated-gelu", is_encoder_decoder=False, use_cache=False, tie_word_embeddings=False,
    )  # fmt: skip
    levels = 4
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(8, 8, 16, 16), layers_per_block=1, latent_channels=16, norm_num_groups=8,
        use_quant_conv=False, use_post_quant_conv=False, scaling_factor=0.3611, shift_factor=0.1159,
    )  # fmt: skip
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=64, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH, guidance_embeds=guidance, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0),
        vae=vae, text_encoder=CLIPTextModel(clip), tokenizer=clip_tokenizer, text_encoder_2=T5EncoderModel(t5),
        tokenizer_2=t5_tokenizer, transformer=transformer,
    ).to(dtype=torch.bfloat16)  # fmt: skip


if __name__ == "__main__":
    build(guidance="guidance" in sys.argv[2:]).save_pretrained(sys.argv[1], max_shard_size="100KB")
