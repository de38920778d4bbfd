"""What this machine has to compute on, as a line of JSON: `benchmarks/gpu.py` asks in a process of its own, since a
driver may crash, and since it is to hold no memory of a card."""

import json
import platform

import torch

from taichi_nerf import devices, runtime
from taichi_nerf_kernels.engine import version


def main():
    missing = {backend: runtime.why_missing(backend) for backend in ("cuda", "vulkan", "cpu")}
    found = devices.vulkan_devices()
    names = {
        "cuda": torch.cuda.get_device_name() if missing["cuda"] is None else None,
        "vulkan": ", ".join(device.name for device in found) if missing["vulkan"] is None else None,
        "cpu": devices.machine(),
    }
    versions = {"Python": platform.python_version(), "engine": version(), "PyTorch": torch.__version__,
                "CUDA": torch.version.cuda}
    small = {"cuda": False, "vulkan": all(device.software for device in found), "cpu": True}
    print(json.dumps({"missing": missing, "devices": names, "small": small, "versions": versions}))


if __name__ == "__main__":
    main()
