"""Which packages the engine imports: those that are installed and stated, and none that nobody asked for."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from fluxkit.errors import MachineError
from fluxkit.spec.run_spec import RunSpec

MEASURED = {
    "torch": "torch", "diffusers": "diffusers", "transformers": "transformers", "accelerate": "accelerate",
    "peft": "peft", "numpy": "numpy", "PIL": "pillow", "skimage": "scikit-image", "safetensors": "safetensors",
    "tokenizers": "tokenizers", "huggingface_hub": "huggingface_hub", "torchao": "torchao",
}  # fmt: skip
"""Modules that measure, or that those import, by the names under which they are installed."""
NOT_ASKED_FOR = frozenset(
    """
    torchao bitsandbytes optimum gguf hqq awq gptqmodel auto_gptq aqlm eetq vptq auto_round compressed_tensors quark
    fbgemm_gpu modelopt sdnq neural_compressor spqr_quant flute qutlass sinq fouroversix fp_quant xformers
    fast_hadamard_transform flash_attn flash_attn_interface flash_attn_3 flashinfer sageattention kernels natten
    aiter causal_conv1d mamba_ssm mambapy fla xlstm liger_kernel apex transformer_engine intel_transformer_engine
    msamp torchdistx torchvision torchaudio torchcodec torchsde librosa soundfile soxr essentia pretty_midi note_seq
    cv2 av decord kornia timm imwatermark deepspeed megatron tensorboard tensorboardX wandb comet_ml aim mlflow
    clearml dvclive swanlab trackio schedulefree lomo_optim galore_torch apollo_torch grokadamw sagemaker
    smdistributed tensorflow jax flax onnx onnxruntime onnxscript openvino nncf mlx pandas sklearn datasets
    matplotlib nltk spacy bs4 ftfy faiss numba outlines compel
    """.split()  # noqa: SIM905 - a list of a hundred lines
)
"""Diffusers, transformers, accelerate and peft look for these and import them on their own: seconds, warnings, and for
some of them (apex, xformers) other arithmetic than the one that a result states."""
IMPORTED_LATE = frozenset({"scipy"})
"""Needed by scikit-image when images are scored; the libraries import half of it for what fluxkit does not use."""


class Gate(PathFinder):
    """Finds what lies on Python's path, but for packages that are hidden."""

    hidden: frozenset[str] = frozenset()

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What Python's own finder says; for what is hidden that it is not there."""
        return None if fullname.partition(".")[0] in cls.hidden else super().find_spec(fullname, path, target)


@contextmanager
def importing(spec: RunSpec) -> Iterator[None]:
    """Hides what the spec does not ask for from here on, and what is imported late inside the block."""
    asked = {"torchao"} if spec.execution.quantization == "int8" else set()
    Gate.hidden = NOT_ASKED_FOR - asked | IMPORTED_LATE
    sys.meta_path[:] = [Gate if finder is PathFinder else finder for finder in sys.meta_path]
    try:
        yield
    finally:
        Gate.hidden -= IMPORTED_LATE


def check_packages() -> None:
    """Looks where each package that measures would be imported from; loads none of them.

    Raises:
        MachineError: another copy comes first, most often by `PYTHONPATH`.
    """
    for name, package in MEASURED.items():
        spec = find_spec(name)
        try:
            installed = Path(str(distribution(package).locate_file(name)))
        except PackageNotFoundError:  # the plan says what is missing
            continue
        # An editable package lies elsewhere and has no folder where it is installed.
        if spec and spec.origin and installed.is_dir() and not installed.samefile(Path(spec.origin).parent):
            raise MachineError(
                f"Another {name} than the installed one comes first on Python's path, {Path(spec.origin).parent}; "
                "unset PYTHONPATH."
            )
