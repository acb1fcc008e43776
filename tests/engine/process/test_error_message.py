"""Errors of libraries, raised by the libraries themselves, reach the reader by their meaning."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers
from diffusers.utils.peft_utils import _create_lora_config
from made_up import write_pipeline
from peft import LoraConfig, get_peft_model
from pydantic import BaseModel
from safetensors.torch import load_file

from fluxkit.engine.__main__ import _fail
from fluxkit.engine.data.tensor_file import TensorFile
from fluxkit.engine.flux.autoencoder import load_autoencoder
from fluxkit.engine.process.error_message import meaning, reading
from fluxkit.engine.process.event_log import EventLog
from fluxkit.errors import MachineError
from fluxkit.record.events import read_events
from fluxkit.spec.workload import ModelSpec


def message_of(act):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever a library raises
        act()
    words = meaning(caught.value)
    assert "\n" not in words
    assert 0 < len(words) < 900
    return words


def broken_break():
    def forward(x):
        torch._dynamo.graph_break()
        return x + 1

    torch.compile(forward, fullgraph=True)(torch.ones(2))


def forced():
    def forward(x):
        return x @ torch.ones(5, 5)

    torch.compile(forward, fullgraph=True)(torch.ones(2))


class Uncompiled(torch.nn.Module):
    @torch._dynamo.disable(recursive=False)
    def forward(self, x):
        return x + 1


class Small(BaseModel):
    rank: int


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: _convert_kohya_flux_lora_to_diffusers({"lora_unet_x.lora_down.weight": torch.zeros(1)}),
         "Incompatible keys detected: lora_unet_x.lora_down.weight"),
        (lambda: torch.nn.Linear(2, 2).load_state_dict({"weight": torch.zeros(2, 2)}),
         'Error(s) in loading state_dict for Linear: Missing key(s) in state_dict: "bias".'),
        (lambda: _create_lora_config({}, None, {"nonsense": 1}, {}), "unexpected keyword argument 'nonsense'"),
        (lambda: get_peft_model(torch.nn.Sequential(torch.nn.Linear(2, 2)), LoraConfig(target_modules=["to_q"])),
         "to_q"),
        (broken_break, "User-inserted graph break"),
        (forced, "must have same reduction dim"),
        (lambda: torch.compile(Uncompiled(), fullgraph=True)(torch.ones(1)), "Skipped frames: - _wrapped_call_impl"),
        (lambda: Small(rank="x"), "1 validation error for Small rank Input should be a valid integer"),
        (lambda: {}["scale"], "KeyError: 'scale' in "),
        (lambda: (_ for _ in ()).throw(AssertionError), "AssertionError in "),
        (lambda: (_ for _ in ()).throw(MachineError("One sentence.")), "One sentence."),
    ],
)  # fmt: skip
def test_the_line_that_says_something_is_told(act, words):
    """A heading brings what stands under it, a cause is told, a bare key gets its class and place."""
    assert words in message_of(act)


def test_advice_for_developers_is_left_out():
    """What torch and pydantic add below their messages is not for the user."""
    for act in (broken_break, forced, lambda: Small(rank="x")):
        words = message_of(act)
        assert not any(
            aside in words for aside in ("Developer debug", "For further", "For more details", "TORCHDYNAMO")
        )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ((10**12).to_bytes(8, "little") + b"{}", "header too large"),
        (b"abc", "header too small"),
        ((2).to_bytes(8, "little") + b"[]", "invalid JSON in header"),
        ((2).to_bytes(8, "little") + b"{}garbage", "file not fully covered"),
    ],
)
def test_an_error_of_safetensors_names_its_file(tmp_path, content, words):
    """Its own message never does."""
    file = tmp_path / "state.safetensors"
    file.write_bytes(content)

    def read():
        with reading(file):
            load_file(file)

    for act in (read, lambda: TensorFile(file)):
        sentence = message_of(act)
        assert words in sentence
        assert f"(while reading {file})" in sentence


def test_an_error_of_diffusers_names_the_part(tmp_path):
    """A part whose weights do not fit its configuration is told with its folder."""
    folder = write_pipeline(tmp_path / "pipeline")
    vae = AutoencoderKL(block_out_channels=(32,), latent_channels=4)
    vae.save_pretrained(folder / "vae")
    config = json.loads((folder / "vae" / "config.json").read_text())
    (folder / "vae" / "config.json").write_text(json.dumps(config | {"latent_channels": 8}))
    model = ModelSpec(family="schnell", weights="pretrained", path=str(folder))
    sentence = message_of(lambda: load_autoencoder(model, torch.device("cpu")))
    assert "expected shape torch.Size" in sentence
    assert str(folder / "vae") in sentence


def test_the_failure_that_is_recorded_is_that_meaning(tmp_path):
    """The event that a result is folded from holds the words and the class."""
    log = EventLog(tmp_path, rank=0, attempt=0)
    with pytest.raises(ValueError, match="Incompatible") as caught:
        _convert_kohya_flux_lora_to_diffusers({"lora_unet_x.lora_down.weight": torch.zeros(1)})
    assert _fail(log, caught.value) == 4
    log._file.close()
    (failed,) = [event for event in read_events(next((tmp_path / "events").iterdir())) if event.event == "failed"]
    assert failed.kind == "ValueError"
    assert failed.message == "Incompatible keys detected: lora_unet_x.lora_down.weight"
