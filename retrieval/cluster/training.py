"""Training over many machines: `mmr train SOURCE --out RUN --ray ADDRESS --workers N`, and the same from Python.

    train(["pairs.csv"], "runs/mine", config, address="10.0.0.1:6379", workers=4)

Ray Train starts the workers, each of which runs what a process of torchrun does (trainee.py), and starts all of them
again where one is lost: they go on from the last checkpoint of the run folder, which all machines see.
"""

import functools
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from retrieval.callbacks import OnMessage, OnProgress, no_message, no_progress
from retrieval.cluster import connection, places
from retrieval.cluster.trainee import Ear, Job, Measure, Outcome, name_interface, work
from retrieval.errors import BadRequest, first_line
from retrieval.training import run_folder
from retrieval.training.config import TrainConfig
from retrieval.training.distributed.ranks import PATIENCE
from retrieval.training.log import Progress

LOSSES = 3  # of workers, after which a run is given up
_HEARD = 0.2  # seconds between two times that the command listens


def train(
    sources: Sequence[str], out: Path | str, config: TrainConfig, *, address: str = connection.LOCAL,
    workers: int | None = None, resume: bool = False,
    measures: Callable[[], Measure | None] = lambda: None,
    on_decode: OnProgress = no_progress,
    on_step: Callable[[Progress], None] = lambda progress: None,
    on_message: OnMessage = no_message,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:  # fmt: skip
    """Train an encoder in several processes of a cluster, which end with the same weights as those of torchrun.

    Args:
        sources: Names of pairs, as `open_mixture` takes them, which every machine can read.
        out: The run folder, on a disk that all machines share.
        config: Every setting of the run.
        address: "local", "auto" or HOST:PORT (connection.py).
        workers: How many processes; None: one a GPU of the cluster, or one a machine where there is none.
        resume: Go on with the run in `out` from its last checkpoint.
        measures: Called in each process, gives what train() takes as `on_eval`.
        on_decode: As train() takes it; all listeners are called in this thread.
        on_step: The same.
        on_message: The same; told of lost workers too.
        should_stop: Asked several times a second; True ends the run with a checkpoint.

    Returns:
        What is known of the run; its encoder is in `out` where it is finished.

    Raises:
        BadRequest: What train() cannot use, or a cluster that does not answer, has no room for so many workers, or
            whose machines do not see `out`.
        MissingModel: `config.encoder` or a teacher is not to be had.
        OSError: The disk fails or is full, or workers were lost again and again.
    """
    listeners: dict[str, Callable[..., None]] = {"on_decode": on_decode, "on_step": on_step, "on_message": on_message}
    out = Path(out).absolute()
    run_folder.check(out, resume)
    with _beside(out) as seen, connection.connected(address) as ray:
        machines = [(int(has.get("CPU", 0)), int(has.get("GPU", 0))) for has in places.machines(ray).values()]
        gpus = config.device != "cpu" and any(gpu for _, gpu in machines)
        count = workers or default_workers(machines, gpus)
        cores = cores_each(machines, count, gpus or config.device == "cuda")
        _say_busy(ray, count, cores, gpus, on_message)
        ear = _ear(ray)
        job = Job(tuple(sources), out, config, resume, Path.cwd(), seen, measures)
        trainer = _trainer(functools.partial(work, job, ear), ear, count, cores, gpus, seen)
        outcome = _listen(ray, ear, trainer, listeners, should_stop)
        if error := ray.get(ear.error.remote()):
            raise error
        return outcome


def default_workers(machines: Sequence[tuple[int, int]], gpus: bool) -> int:
    """One a GPU, or one a machine that has cores. machines: the cores and GPUs of each."""
    return max(1, sum(gpu for _, gpu in machines) if gpus else sum(cores > 0 for cores, _ in machines))


def cores_each(machines: Sequence[tuple[int, int]], workers: int, gpus: bool) -> int:
    """The most cores that each of so many workers can have, with a GPU each or none.

    Raises:
        BadRequest: There is no room for so many, for which Ray would wait for ever.
    """

    def room(cores: int) -> int:
        return sum(min(own // cores, gpu if gpus else own) for own, gpu in machines)

    most = room(1)
    if workers < 1 or workers > most:
        what = "GPU" if gpus else "CPU"
        instead = f"--workers {most}" if most else "--device cpu" if gpus else "machines with cores, see `ray status`"
        raise BadRequest(f"the cluster has {what}s for {most} workers, not for {workers}: use {instead}")
    return max(cores for cores in range(1, max(own for own, _ in machines) + 1) if room(cores) >= workers)


def _say_busy(ray: ModuleType, workers: int, cores: int, gpus: bool, say: OnMessage) -> None:
    free = ray.available_resources()
    if free.get("CPU", 0) < workers * cores or (gpus and free.get("GPU", 0) < workers):
        say("others hold a part of the cluster: the run begins when they let go of it, or use fewer --workers")


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A folder beside the run's for as long as this is entered: where that is seen, the run's will be."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".mmr-ray-", dir=out.parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _ear(ray: ModuleType) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(Ear).remote()


def _trainer(do: Any, ear: Any, workers: int, cores: int, gpus: bool, storage: Path) -> Any:
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    resources = {"CPU": cores, **({"GPU": 1} if gpus else {})}
    return TorchTrainer(
        cast(Callable[[], None], do),  # what it gives back comes to `ear`
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus, resources_per_worker=resources),
        torch_config=_group("cpu:gloo,cuda:nccl" if gpus else "gloo"),
        run_config=RunConfig(
            name="run", storage_path=str(storage), failure_config=FailureConfig(max_failures=LOSSES),
            callbacks=[_watch(ear)],
        ),
    )  # fmt: skip


def _group(backend: str) -> Any:
    """How Ray Train connects the workers, after each was told by which interface."""
    from ray.train.torch import TorchConfig

    class Backend(TorchConfig().backend_cls):  # type: ignore[misc]  # Ray has no public name for it
        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            worker_group.execute(name_interface)
            super().on_start(worker_group, backend_config)

    class Config(TorchConfig):
        @property
        def backend_cls(self) -> type:
            return Backend

    return Config(backend=backend, timeout_s=int(PATIENCE.total_seconds()))


def _watch(ear: Any) -> Any:
    """A callback of Ray Train that tells the ear of workers that were lost."""
    from ray.train import UserCallback

    class Watch(UserCallback):
        def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
            ear.lose.remote(_reason(worker_exceptions))

    return Watch()


def _reason(failures: dict[int, Exception]) -> str:
    """Why, in a line: what ended a process, rather than what its neighbors say of a connection that was cut."""
    ended = [error for error in failures.values() if "Actor" in type(error).__name__]
    reason = first_line((ended or list(failures.values()))[0]).rstrip(".")
    return "a connection was cut" if "gloo" in reason else reason


def _listen(
    ray: ModuleType, ear: Any, trainer: Any, listeners: dict[str, Callable[..., None]], should_stop: Callable[[], bool]
) -> Any:
    """Run it in a thread of its own, so that signals stay this command's; what the first worker gave."""
    found: list[Any] = []
    running = threading.Thread(target=lambda: found.append(_fitted(trainer)), daemon=True)
    running.start()
    going = True
    while going:
        running.join(_HEARD)
        going = running.is_alive()
        for listener, given in ray.get(ear.told.remote(should_stop())):
            listeners[listener](*given)
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _fitted(trainer: Any) -> Any:
    """What the first worker gave, or an error for people."""
    from ray.train import WorkerGroupError

    try:
        return trainer.fit().return_value
    except WorkerGroupError as error:
        own = [one for one in error.worker_failures.values() if isinstance(one, OSError | MemoryError)]
        return own[0] if own else OSError(f"workers were lost {LOSSES + 1} times, {_reason(error.worker_failures)}")
    except Exception as error:  # Ray's own
        return OSError(f"Ray gave up: {first_line(getattr(error, 'controller_failure', error))}")
