"""VGGish as the usual PyTorch port runs it: the same layers as `nn.Module`s, the reference's front end, file by file.

torch is nobody's dependency here: install it beside Earshot to have this row (`pip install torch`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.peers.front_end import log_mel_patches, read_resampy
from bench.result import LeftOutError
from bench.weights import random_vggish_weights


def load() -> Callable[[Path], Any]:
    """Raises LeftOutError without torch."""
    try:
        import torch
    except ImportError as error:
        raise LeftOutError("torch is not here; pip install torch") from error
    from embeddings.encoding.vggish_model import POOLED

    torch.set_num_threads(1)
    layers: list[Any] = []
    for name, (kernel, bias) in random_vggish_weights().items():
        tensor = torch.from_numpy(kernel)
        if kernel.ndim == 4:
            layer = torch.nn.Conv2d(kernel.shape[2], kernel.shape[3], 3, padding=1)
            layer.weight = torch.nn.Parameter(tensor.permute(3, 2, 0, 1).contiguous())
        else:
            if name == "fc1/fc1_1":
                layers += [_ChannelsLast(), torch.nn.Flatten()]
            layer = torch.nn.Linear(*kernel.shape)
            layer.weight = torch.nn.Parameter(tensor.T.contiguous())
        layer.bias = torch.nn.Parameter(torch.from_numpy(bias))
        layers += [layer, torch.nn.ReLU()]
        if name in POOLED:
            layers.append(torch.nn.MaxPool2d(2, 2))
    model = torch.nn.Sequential(*layers[:-1]).eval()

    def embed(path: Path) -> Any:
        with torch.no_grad():
            return model(torch.from_numpy(log_mel_patches(read_resampy(path)))[:, None]).numpy()

    return embed


def _ChannelsLast() -> Any:  # noqa: N802  a module without state
    import torch

    class ChannelsLast(torch.nn.Module):
        """Dense layers were trained on channels that come last."""

        def forward(self, x: Any) -> Any:
            return x.permute(0, 2, 3, 1)

    return ChannelsLast()
