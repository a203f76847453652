"""Places: where in a cluster a worker can be, by the cores and GPUs of its machines as they come and go."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

CORES = 4  # of a worker without a GPU: with more, Python's own work becomes what they wait for
DECODING = 8  # cores beside a GPU that decode for it


@dataclass(frozen=True, slots=True)
class Place:
    """Room for one worker. node: Ray's id of the machine; number: of the place there; device: "cpu" or "cuda"."""

    node: str
    number: int
    cores: int
    device: str

    def options(self) -> dict[str, Any]:
        """Those of an actor that is to be there and nowhere else."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(self.node, soft=False)
        return {
            "num_cpus": self.cores, "num_gpus": float(self.device == "cuda"), "scheduling_strategy": there,
            "max_concurrency": 2,  # the end of a block leaves cores free, which begin the next
        }  # fmt: skip


def machines(ray: ModuleType) -> dict[str, Mapping[str, float]]:
    """What each machine that is alive has, by its id."""
    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}


def of_cluster(ray: ModuleType, device: str = "auto") -> list[Place]:
    """The places of all machines that are alive; device: "auto", "cpu" or "cuda"."""
    return [place for node, has in machines(ray).items() for place in of_machine(node, has, device)]


def of_machine(node: str, resources: Mapping[str, float], device: str = "auto") -> list[Place]:
    """The places of a machine. resources: what it has, "CPU" and "GPU" of it."""
    cores, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if device != "cpu" and gpus and cores:
        return [Place(node, number, min(DECODING, max(1, cores // gpus)), "cuda") for number in range(gpus)]
    if device == "cuda" or not cores:
        return []
    count = max(1, cores // CORES)
    return [Place(node, number, cores // count, "cpu") for number in range(count)]
