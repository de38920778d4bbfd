"""What this machine has to compute on: processor, memory, CUDA and Vulkan devices, as far as the system tells."""

import contextlib
import ctypes
import ctypes.util
import importlib.util
import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MOST_THREADS", "RANK_VARIABLES", "VulkanDevice", "free_memory", "is_rank", "machine", "memory",
           "pytorch_is_for_cuda", "ranks_here", "take_own_device", "vulkan_devices"]

MOST_THREADS = 1024  # of a process: Taichi and PyTorch start three times as many, and the largest machines have so many

# what torchrun tells the processes that it starts: who they are, and where they meet
RANK_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

VULKAN_LIBRARIES = {"win32": "vulkan-1.dll", "darwin": "libvulkan.dylib"}
DISCRETE, SOFTWARE = 2, 4  # VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, _CPU
DEVICE_LOCAL = 1  # VK_MEMORY_HEAP_DEVICE_LOCAL_BIT
FLOAT_ATOMICS = b"VK_EXT_shader_atomic_float"
ATOMIC_FEATURES = 1000260000  # VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_ATOMIC_FLOAT_FEATURES_EXT
HALF_FEATURES = 1000082000  # VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES
STORAGE_FEATURES = 1000083000  # VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES
FEATURES_2 = 1000059000  # VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2


@dataclass(frozen=True, kw_only=True)
class VulkanDevice:
    """A physical device as its driver describes it."""

    name: str
    software: bool
    """Computed by the processor, as by Mesa's lavapipe."""
    discrete: bool
    """A card with memory of its own."""
    memory: int
    """Bytes of its own memory."""
    float_atomics: bool
    """Whether float32 sums in memory are one instruction; otherwise Taichi loops over compare-and-exchange."""
    half_storage: bool = False
    """Whether arrays may be of float16."""


def is_rank() -> bool:
    """Whether this process is one of several, or one, that torchrun has started."""
    return all(name in os.environ for name in RANK_VARIABLES)


def ranks_here() -> int:
    """How many ranks share this machine."""
    text = os.environ.get("LOCAL_WORLD_SIZE", "1") if is_rank() else "1"
    return max(int(text), 1) if text.isdecimal() else 1


def take_own_device() -> None:
    """Let a rank see one GPU alone, by its number on this machine; of Vulkan's devices as well. Both libraries read it
    when they start."""
    number = os.environ.get("LOCAL_RANK", "")
    if not is_rank() or ranks_here() == 1 or not number.isdecimal():
        return
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    own = [number] if seen is None else seen.split(",")[int(number) : int(number) + 1]
    os.environ["CUDA_VISIBLE_DEVICES"] = own[0] if own else "-1"  # none
    os.environ.setdefault("TI_VISIBLE_DEVICE", number)


def machine() -> str:
    """Processor and cores."""
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} {'core' if cores == 1 else 'cores'}"


def memory() -> int | None:
    """Bytes of the machine's memory; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def free_memory() -> int | None:
    """Bytes that a program may still take: of the machine, or of its control group; None where nobody says."""
    found = []
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with contextlib.suppress(OSError, ValueError):  # ValueError: "max"
        group = Path("/sys/fs/cgroup")
        found.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return min(found, default=memory())


def pytorch_is_for_cuda() -> bool:
    """Whether the PyTorch that is installed was built for CUDA, without the second that importing it takes."""
    package = importlib.util.find_spec("torch")
    if package is None or package.origin is None:
        return False
    try:
        version = Path(package.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"^cuda\b.*= *['\"]\d", version, re.MULTILINE) is not None


def vulkan_devices() -> list[VulkanDevice]:
    """All Vulkan devices; none without a loader, a driver or a device."""
    library = VULKAN_LIBRARIES.get(sys.platform) or ctypes.util.find_library("vulkan") or "libvulkan.so.1"
    try:
        vulkan = ctypes.CDLL(library)
    except OSError:
        return []
    # application info: Vulkan 1.1, for vkGetPhysicalDeviceFeatures2
    application = _ApplicationInfo(type=0, api_version=(1 << 22) | (1 << 12))
    create = _InstanceCreateInfo(type=1, application=ctypes.pointer(application))
    instance = ctypes.c_void_p()
    if vulkan.vkCreateInstance(ctypes.byref(create), None, ctypes.byref(instance)) != 0:
        return []
    try:
        count = ctypes.c_uint32()
        if vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None) < 0:
            return []
        handles = (ctypes.c_void_p * count.value)()
        if vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), handles) < 0:
            return []
        return [_described(vulkan, ctypes.c_void_p(handle)) for handle in handles[: count.value]]
    finally:
        vulkan.vkDestroyInstance(instance, None)


def _described(vulkan, device) -> VulkanDevice:
    # VkPhysicalDeviceProperties is shorter: five words, the name, and limits that nothing here reads
    properties = (ctypes.c_uint8 * 4096)()
    vulkan.vkGetPhysicalDeviceProperties(device, properties)
    kind = int.from_bytes(bytes(properties[16:20]), sys.byteorder)
    name = bytes(properties[20:276]).split(b"\0")[0].decode(errors="replace")
    heaps = _MemoryProperties()
    vulkan.vkGetPhysicalDeviceMemoryProperties(device, ctypes.byref(heaps))
    sizes = [heap.size for heap in heaps.heaps[: heaps.heap_count] if heap.flags & DEVICE_LOCAL]
    return VulkanDevice(name=name, software=kind == SOFTWARE, discrete=kind == DISCRETE, memory=sum(sizes),
                        float_atomics=_has_float_atomics(vulkan, device),
                        half_storage=_has_half_storage(vulkan, device))


def _has_float_atomics(vulkan, device) -> bool:
    count = ctypes.c_uint32()
    vulkan.vkEnumerateDeviceExtensionProperties(device, None, ctypes.byref(count), None)
    extensions = (_Extension * count.value)()
    vulkan.vkEnumerateDeviceExtensionProperties(device, None, ctypes.byref(count), extensions)
    if all(extension.name != FLOAT_ATOMICS for extension in extensions):
        return False
    atomics = _Flags(type=ATOMIC_FEATURES)
    features = _Features2(type=FEATURES_2, next=ctypes.cast(ctypes.pointer(atomics), ctypes.c_void_p))
    vulkan.vkGetPhysicalDeviceFeatures2(device, ctypes.byref(features))
    return bool(atomics.flags[1])  # shaderBufferFloat32AtomicAdd


def _has_half_storage(vulkan, device) -> bool:
    storage = _Flags(type=STORAGE_FEATURES)
    half = _Flags(type=HALF_FEATURES, next=ctypes.cast(ctypes.pointer(storage), ctypes.c_void_p))
    features = _Features2(type=FEATURES_2, next=ctypes.cast(ctypes.pointer(half), ctypes.c_void_p))
    vulkan.vkGetPhysicalDeviceFeatures2(device, ctypes.byref(features))
    return bool(half.flags[0] and storage.flags[0])  # shaderFloat16, storageBuffer16BitAccess


class _ApplicationInfo(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("next", ctypes.c_void_p), ("name", ctypes.c_char_p),
                ("version", ctypes.c_uint32), ("engine", ctypes.c_char_p), ("engine_version", ctypes.c_uint32),
                ("api_version", ctypes.c_uint32)]


class _InstanceCreateInfo(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("next", ctypes.c_void_p), ("flags", ctypes.c_uint32),
                ("application", ctypes.POINTER(_ApplicationInfo)), ("layer_count", ctypes.c_uint32),
                ("layers", ctypes.c_void_p), ("extension_count", ctypes.c_uint32), ("extensions", ctypes.c_void_p)]


class _Heap(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint64), ("flags", ctypes.c_uint32)]


class _MemoryProperties(ctypes.Structure):
    _fields_ = [("type_count", ctypes.c_uint32), ("types", ctypes.c_uint32 * 2 * 32),
                ("heap_count", ctypes.c_uint32), ("heaps", _Heap * 16)]


class _Extension(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char * 256), ("version", ctypes.c_uint32)]


class _Flags(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("next", ctypes.c_void_p), ("flags", ctypes.c_uint32 * 12)]


class _Features2(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("next", ctypes.c_void_p), ("features", ctypes.c_uint32 * 64)]
