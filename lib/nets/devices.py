"""Devices that networks compute on."""


def choose_device() -> str:
    """Return the device for networks: ``cuda:0`` if torch can use a GPU, otherwise ``cpu``."""
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"
