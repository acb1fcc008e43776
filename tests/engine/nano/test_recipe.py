"""The embedded model is a real FLUX pipeline, and its recipe kept away from what runs are scored on."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from fluxkit.dataset.photos import photo_path, photos
from fluxkit.dataset.picture_loader import load_image, pixel_sha256
from fluxkit.engine.data.images import to_uint8
from fluxkit.engine.nano import pictures, recipe

FOLDER = Path(str(files("fluxkit"))) / "data" / "nano"

PLAIN = """
import json, sys
import torch
from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel

pipeline = FluxPipeline.from_pretrained(sys.argv[1], dtype=torch.float32, local_files_only=True)
pipeline.set_progress_bar_config(disable=True)
image = pipeline(
    "a close up photo of a tabby cat", height=64, width=64, num_inference_steps=4, guidance_scale=0.0,
    max_sequence_length=pipeline.tokenizer_2.model_max_length, generator=torch.Generator().manual_seed(0),
).images[0]
print(json.dumps({
    "fluxkit": any(name.split(".")[0] == "fluxkit" for name in sys.modules),
    "kinds": [isinstance(pipeline.vae, AutoencoderKL), isinstance(pipeline.transformer, FluxTransformer2DModel)],
    "guidance": pipeline.transformer.config.guidance_embeds,
    "scheduler": dict(pipeline.scheduler.config),
    "dtype": str(pipeline.transformer.dtype),
    "size": image.size,
    "spread": max(high - low for low, high in image.getextrema()),
}))
"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a process that knows diffusers but not fluxkit finds in the folder."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    command = [sys.executable, "-I", "-c", PLAIN, str(FOLDER)]
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_plain_diffusers_opens_the_folder_and_draws(opened: dict[str, object]) -> None:
    """Anyone can use the embedded model without fluxkit."""
    assert opened["fluxkit"] is False
    assert opened["kinds"] == [True, True]
    assert opened["dtype"] == "torch.float32"
    assert opened["size"] == [64, 64]
    assert opened["spread"] > 50


def test_the_scheduler_has_the_settings_of_schnell_and_there_is_no_guidance(opened: dict[str, object]) -> None:
    """The four sigmas are 1, .75, .5 and .25: no shift, no guidance embedding."""
    assert opened["guidance"] is False
    expected = {
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "num_train_timesteps": 1000,
        "shift": 1.0,
        "use_dynamic_shifting": False,
        "base_image_seq_len": 256,
        "max_image_seq_len": 4096,
        "base_shift": 0.5,
        "max_shift": 1.15,
    }
    scheduler = opened["scheduler"]
    assert {key: scheduler[key] for key in expected} == expected


def test_the_folder_is_small_and_holds_no_pickle() -> None:
    """The wheel stays small, and every weight is safetensors."""
    held = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in held) <= 8 * 2**20
    assert {path.suffix for path in held} <= {".safetensors", ".json", ".txt", ".md"}


def test_the_autoencoder_keeps_the_pictures() -> None:
    """Mean round trip of all photos at 64 px, the ceiling of every score, is 30 dB or more."""
    from diffusers import AutoencoderKL

    from fluxkit.engine.data.images import to_tensor
    from fluxkit.engine.evaluate.psnr_ssim import score
    from fluxkit.engine.flux.autoencoder import Autoencoder

    vae = AutoencoderKL.from_pretrained(FOLDER / "vae", local_files_only=True)
    autoencoder = Autoencoder(vae, torch.device("cpu"))
    photographs = to_tensor([load_image(photo_path(photo), 64) for photo in photos()])
    latents = autoencoder.encode(photographs)
    assert latents.shape == (len(photos()), 16, 16, 16)
    assert abs(latents.mean().item()) < 0.25
    assert 0.7 < latents.std().item() < 1.3
    pairs = zip(to_uint8(autoencoder.decode(latents)), to_uint8(photographs), strict=True)
    assert np.mean([score(decoded, photograph).psnr_db for decoded, photograph in pairs]) >= 30.0


def test_captions_are_told_apart() -> None:
    """No two captions share tokens or embeddings, and none is cut off."""
    from diffusers import FluxPipeline

    text = FluxPipeline.from_pretrained(FOLDER, transformer=None, vae=None, local_files_only=True)
    captions = [photo.caption for photo in photos()]
    longest = text.tokenizer_2.model_max_length
    assert max(len(text.tokenizer_2(caption).input_ids) for caption in captions) <= longest
    assert max(len(text.tokenizer(caption).input_ids) for caption in captions) <= 77
    with torch.no_grad():
        _, pooled, _ = text.encode_prompt(prompt=captions, prompt_2=None, max_sequence_length=longest)
    likeness = torch.corrcoef(pooled).fill_diagonal_(0)
    assert likeness.max() < 0.8


def test_the_splits_are_disjoint_and_their_pictures_differ() -> None:
    """No photo, file or picture is both tuned on and held out."""
    tuning, held_out = photos("tuning"), photos("held_out")
    assert len(tuning) == 9
    assert len(held_out) >= 8
    assert {*tuning, *held_out} == {*photos()}
    for value in (lambda photo: photo.sha256, lambda photo: pixel_sha256(load_image(photo_path(photo), 64))):
        assert len({value(photo) for photo in photos()}) == len(photos())


def test_the_recipe_never_sees_the_exact_pairs() -> None:
    """Neither the autoencoder nor the transformer was trained on a picture that a run is scored on."""
    generator = torch.Generator().manual_seed(0)
    tuning = photos("tuning")
    seen, owners = pictures.transformer_pictures(tuning, generator=generator)
    crops = pictures.autoencoder_pictures(tuning, per_photo=20, generator=generator)
    exact = {pixel_sha256(load_image(photo_path(photo), 64)) for photo in photos()}
    from PIL import Image

    for drawn in (seen, crops):
        hashes = {pixel_sha256(Image.fromarray(each)) for each in to_uint8(drawn)}
        assert not hashes & exact
    assert owners.bincount().tolist() == [len(seen) // len(tuning)] * len(tuning)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_recipe_opens_tuning_photos_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Held-out photos are not even opened before the model is written."""
    opened: list[str] = []
    real = pictures.photo_path
    monkeypatch.setattr(pictures, "photo_path", lambda photo: opened.append(photo.split) or real(photo))
    monkeypatch.setattr(recipe, "model_card", lambda *_: "")
    recipe.make(tmp_path / "nano", linear_iterations=1, autoencoder_iterations=1, transformer_iterations=1)
    assert set(opened) == {"tuning"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_recipe_writes_the_same_bytes_twice(tmp_path: Path) -> None:
    """Same machine, same libraries, same weights."""
    written = []
    for name in ("first", "second"):
        command = (
            "import sys; from pathlib import Path; from fluxkit.engine.nano.recipe import make; "
            "make(Path(sys.argv[1]), linear_iterations=3, autoencoder_iterations=2, transformer_iterations=3)"
        )
        subprocess.run([sys.executable, "-c", command, str(tmp_path / name)], check=True, capture_output=True)
        folder = tmp_path / name
        written.append({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    assert all(first == second for first, second in pairwise(written))
    assert np.any([path.suffix == ".safetensors" for path in written[0]])
