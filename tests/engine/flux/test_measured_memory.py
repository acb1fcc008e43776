"""The memory formulas against what autograd keeps and against the peak of all live tensors, on the CPU."""

from __future__ import annotations

import weakref

import pytest

torch = pytest.importorskip("torch", reason="the engine extra is not installed")

from diffusers import AutoencoderKL, FluxTransformer2DModel  # noqa: E402
from made_up import SCHNELL  # noqa: E402
from peft import LoraConfig  # noqa: E402
from test_transformer_sizes import SMALL, TARGETS  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from fluxkit.model.memory_formula import (  # noqa: E402
    AUTOENCODERS,
    ForwardPass,
    decoding_peak_bytes,
    inference_peak_bytes,
    kept_for_backward,
    narrow_saving_bytes,
    tuning_peak_bytes,
)
from fluxkit.model.pipeline_files import NANO_FOLDER  # noqa: E402

LEVELS_OF_SCHNELL = {
    "block_out_channels": [128, 256, 512, 512], "latent_channels": 16, "layers_per_block": 2,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
    "use_quant_conv": False, "use_post_quant_conv": False,
}  # fmt: skip
WORK = ForwardPass(image_tokens=64, text_tokens=20, batch=8)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@pytest.fixture(autouse=True)
def one_thread():
    """More threads only get in each other's way with models of this size."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class LiveBytes(TorchDispatchMode):
    """Bytes of all storages that are alive, and their peak; workspace inside a kernel is not seen."""

    def __init__(self):
        super().__init__()
        self.alive = {}
        self.now = self.peak = 0

    def add(self, tensor):
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.alive:
            self.alive[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.drop, key)

    def drop(self, key):
        self.now -= self.alive.pop(key)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.add(leaf)
        return result


def sizes_of(doubles, singles, heads=4, head_dim=32):
    return SMALL.model_copy(
        update={
            "num_layers": doubles,
            "num_single_layers": singles,
            "num_attention_heads": heads,
            "attention_head_dim": head_dim,
        }
    )


def model_of(sizes, *, rank, precision, checkpointing=False):
    torch.manual_seed(0)
    rope = (sizes.attention_head_dim - 24, 12, 12)
    model = FluxTransformer2DModel(axes_dims_rope=rope, **sizes.model_dump())
    for parameter in model.parameters():
        parameter.data = parameter.data.to(DTYPES[precision])
    if rank is not None:
        model.requires_grad_(requires_grad=False)
        model.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=TARGETS))
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    if checkpointing:
        model.enable_gradient_checkpointing()
    return model.train()


def inputs_of(sizes, work, precision):
    dtype = DTYPES[precision]
    return {
        "hidden_states": torch.randn(work.batch, work.image_tokens, sizes.in_channels, dtype=dtype),
        "encoder_hidden_states": torch.randn(work.batch, work.text_tokens, sizes.joint_attention_dim, dtype=dtype),
        "pooled_projections": torch.randn(work.batch, sizes.pooled_projection_dim, dtype=dtype),
        "timestep": torch.rand(work.batch, dtype=dtype),
        "img_ids": torch.zeros(work.image_tokens, 3),
        "txt_ids": torch.zeros(work.text_tokens, 3),
        "return_dict": False,
    }


def kept_by(sizes, rank, precision):
    """Bytes of the storages that autograd keeps after a forward pass, without the model's own."""
    model = model_of(sizes, rank=rank, precision=precision)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept, alive = {}, []

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(**inputs_of(sizes, WORK, precision))
    return sum(kept.values())


def live_peak_of_tuning(sizes, work, rank, precision, checkpointing):
    model = model_of(sizes, rank=rank, precision=precision, checkpointing=checkpointing)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, fused=True)
    inputs = inputs_of(sizes, work, precision)
    live = LiveBytes()
    for parameter in model.parameters():
        live.add(parameter)
    with live:
        for _ in range(2):  # the optimiser's state exists from the second step on
            model(**inputs)[0].float().square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    return live.peak


@pytest.mark.parametrize(
    ("heads", "head_dim", "rank", "precision"),
    [(4, 32, 4, "float32"), (8, 32, 16, "float32"), (2, 64, None, "float32"), (8, 32, 4, "bfloat16")],
)
def test_a_block_keeps_what_the_formula_says(heads, head_dim, rank, precision):
    """One more block of either kind keeps exactly the bytes of the formula."""
    smallest = kept_by(sizes_of(1, 1, heads, head_dim), rank, precision)
    double = kept_by(sizes_of(2, 1, heads, head_dim), rank, precision) - smallest
    single = kept_by(sizes_of(1, 2, heads, head_dim), rank, precision) - smallest
    formula = kept_for_backward(sizes_of(1, 1, heads, head_dim), WORK, lora_rank=rank, precision=precision)
    assert (double, single) == formula


@pytest.mark.parametrize(
    ("sizes", "work", "rank", "precision", "checkpointing"),
    [
        (sizes_of(1, 2), WORK._replace(batch=20), 16, "float32", False),
        (sizes_of(1, 2), WORK._replace(batch=20), 16, "bfloat16", True),
        (sizes_of(1, 2), WORK._replace(batch=20), None, "float32", True),
        (sizes_of(4, 1), WORK, 16, "float32", True),
        (sizes_of(2, 4), WORK, 16, "bfloat16", False),
        (sizes_of(2, 4), WORK, None, "float32", False),
        (sizes_of(1, 2, heads=8, head_dim=64), ForwardPass(64, 64, 2), None, "float32", False),
        (sizes_of(3, 1, heads=8), WORK._replace(batch=1), None, "float32", True),
    ],
)
def test_the_peak_of_tuning_is_predicted(sizes, work, rank, precision, checkpointing):
    """The predicted peak of tuning is within 10 % of the measured one."""
    predicted = tuning_peak_bytes(
        sizes, work, lora_rank=rank, precision=precision, gradient_checkpointing=checkpointing
    )
    measured = live_peak_of_tuning(sizes, work, rank, precision, checkpointing)
    assert predicted == pytest.approx(measured, rel=0.1)


def test_shares_divide_what_full_tuning_holds():
    """Four shares of schnell's full tuning fit where two do not, and what is left over is blocks and activations."""
    plain, four = (
        tuning_peak_bytes(SCHNELL, ForwardPass(256, 256), lora_rank=None, shares=shares, gradient_checkpointing=True)
        for shares in (1, 4)
    )
    held = 16 * SCHNELL.parameters
    assert plain == pytest.approx(held, rel=0.05)
    assert held / 4 < four < held / 4 + 12 * 10**9
    assert tuning_peak_bytes(SCHNELL, ForwardPass(256, 256), lora_rank=None, shares=2) > 80 * 10**9 > four


def test_narrow_weights_halve_what_fp32_inference_holds():
    """Stored in bfloat16 schnell's FP32 inference needs half the weights' bytes, but for a matrix and the adapters."""
    saved = narrow_saving_bytes(SCHNELL, 16)
    assert saved == pytest.approx(2 * SCHNELL.parameters, rel=0.03)
    left = inference_peak_bytes(SCHNELL, ForwardPass(256, 256), precision="float32") - saved
    assert left < 48 * 2**30 * 0.55 < inference_peak_bytes(SCHNELL, ForwardPass(256, 256), precision="float32")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("sizes", "work"),
    [
        (sizes_of(1, 2), WORK),
        (sizes_of(2, 2, heads=8), ForwardPass(256, 20, 4)),
        (sizes_of(1, 2, head_dim=128), ForwardPass(64, 64, 4)),
    ],
    ids=["small", "long", "wide"],
)
def test_the_peak_of_inference_is_predicted(sizes, work, precision):
    """The predicted peak of a forward pass without gradients is within 10 % of the measured one."""
    model = model_of(sizes, rank=None, precision=precision)
    live = LiveBytes()
    for parameter in model.parameters():
        live.add(parameter)
    with torch.no_grad(), live:
        model(**inputs_of(sizes, work, precision))
    assert inference_peak_bytes(sizes, work, precision=precision) == pytest.approx(live.peak, rel=0.1)


@pytest.mark.parametrize(("family", "factor", "resolution"), [("nano", 4, 64), ("schnell", 8, 128)])
def test_the_autoencoder_is_predicted(family, factor, resolution):
    """Its parameters are exact, and decoding is within 10 % of the peak of live tensors."""
    autoencoder = (
        AutoencoderKL(**LEVELS_OF_SCHNELL)
        if family == "schnell"
        else AutoencoderKL.from_pretrained(NANO_FOLDER / "vae")
    )
    assert sum(value.numel() for value in autoencoder.parameters()) == AUTOENCODERS[family].parameters
    side = resolution // factor
    together = max(1, 4096 // side**2)
    live = LiveBytes()
    with torch.no_grad(), live:
        autoencoder.decode(torch.zeros(together, 16, side, side))
    predicted = decoding_peak_bytes(AUTOENCODERS[family], side**2 // 4, resolution)
    assert predicted == pytest.approx(live.peak, rel=0.1)
