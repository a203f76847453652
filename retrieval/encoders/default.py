"""Which encoder is taken where nobody names one."""

from retrieval import hub
from retrieval.callbacks import OnMessage
from retrieval.encoders import builtin
from retrieval.encoders.presets import DEFAULT, PRESETS
from retrieval.errors import MissingModel

HOW = f"{DEFAULT} where it can be had, else {builtin.NAME}"  # what a person is told of `choose`


def choose(say: OnMessage) -> str:
    """`small` if it is in the model hub's cache or the hub answers, else `builtin`, which is said.

    To find out takes half a second where there is no network, five at most, and imports no torch. say: told the line.
    Raises MissingModel where neither is to be had.
    """
    preset = PRESETS[DEFAULT]
    architecture, _, tag = preset.model.partition(":")[2].partition("/")
    try:
        hub.require_open_clip(architecture, tag, preset.hub)
    except MissingModel as unreachable:
        return _builtin(unreachable, say)
    return DEFAULT


def _builtin(unreachable: MissingModel, say: OnMessage) -> str:
    try:
        builtin.require()
    except MissingModel as lacking:
        raise MissingModel(f"{unreachable}; {lacking}") from unreachable  # both ways
    say(
        f"`{DEFAULT}` is not cached and the model hub cannot be reached: `{builtin.NAME}` is taken, which needs no "
        f"network; later, `mmr index --model {DEFAULT}` encodes again beside"
    )
    return builtin.NAME
