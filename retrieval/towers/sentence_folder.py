"""Sentence encoders as they lie in a folder, laid out by sentence-transformers or model2vec: what their JSON says.

    modules.json  config.json  tokenizer.json  sentence_bert_config.json  1_Pooling/config.json  2_Dense/config.json

Nothing of it runs, and nothing is believed: a part that is not known here, a file outside the folder, or widths that do
not fit are one line.
"""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from indexes import typed
from indexes.typed import Malformed, Meta
from retrieval import errors, hub, packages
from retrieval.errors import MissingModel
from retrieval.towers.tower import Spec

WAY_ON = "give the folder of another with --set text_tower=sentence:FOLDER"
POOLED = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")  # in the order of their rows
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_TOKENIZER = "tokenizer.json"
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_OWN = re.compile(r"sentence_transformers\.[\w.]*\b(Transformer|Pooling|Dense|Normalize|Dropout|StaticEmbedding)")
_ACTIVATION = re.compile(r"torch\.nn\.modules\.\w+\.(\w+)")
_BEHIND_PAD = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "data2vec-text", "xmod")
_NOISE = re.compile(
    r"_.*|architectures|auto_map|.*_version|id2label|label2id|num_labels|(torch_)?dtype|task_specific_params|"
    r"problem_type|finetuning_task|tokenizer_class|prefix|(bos|eos|sep|cls|decoder_start)_token_id|use_cache|"
    r"output_\w+|return_dict|torchscript|attn_implementation|quantization_config|gradient_checkpointing|.*drop\w*"
)  # keys of config.json that decide no vector, or must not: what runs the model is chosen here
_LONGEST = 1 << 16  # tokens of a text


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceFolder:
    """What a folder says. weights, tokenizer: files. config: config.json, without what decides no vector.

    pooling: of POOLED, whose rows are put beside each other. width: of a word, as the pooling says. tail: what follows,
    specs of sentence_tower.TAIL, each with the file of its weights or None. context: tokens of a text. prefix: put
    before each. static: word vectors alone, of which model2vec's leave out unknown words (`skips`) and cut long texts
    by characters too.
    """

    weights: Path
    tokenizer: Path
    config: dict[str, Any]
    pooling: tuple[str, ...] = ()
    width: int | None = None
    tail: tuple[tuple[Spec, Path | None], ...] = ()
    context: int = _LONGEST
    lower: bool = False
    prefix: str = ""
    static: bool = False
    skips: bool = False


Width = Annotated[int, Meta(ge=1, le=1 << 16)]


@dataclass(frozen=True, slots=True)
class _Module:
    path: str
    type: str


@dataclass(frozen=True, slots=True)
class _Reading:
    """sentence_bert_config.json."""

    max_seq_length: Annotated[int, Meta(ge=1)] | None = None
    do_lower_case: bool = False


@dataclass(frozen=True, slots=True)
class _Prompts:
    """config_sentence_transformers.json, of which the prompt that is always there is read."""

    prompts: dict[str, str] | None = None
    default_prompt_name: str | None = None


@dataclass(frozen=True, slots=True)
class _Dense:
    in_features: Width
    out_features: Width
    bias: bool = True
    activation_function: str = "torch.nn.modules.activation.Tanh"
    use_residual: bool = False
    module_input_name: str = "sentence_embedding"


def read(name: str) -> SentenceFolder:
    """The sentence encoder of a folder, or of the model hub. Raises MissingModel where there is none that can be read.

    name: a folder, or a name of the hub; one without an owner is sentence-transformers' own.
    """
    folder = _found(name)
    return _checked(folder)


def of_package(name: str) -> SentenceFolder:
    """The sentence encoder that a pip package carries, by its short name. Raises MissingModel."""
    return _checked(packages.files_of(packages.PACKAGES[name])["model/modules.json"].parent)


def unfit(folder: SentenceFolder, error: Exception) -> MissingModel:
    """What is wrong with a folder whose parts do not make an encoder."""
    return _unfit(folder.tokenizer.parent, error)


def _checked(folder: Path) -> SentenceFolder:
    try:
        return _read(folder)
    except (Malformed, OSError) as error:
        raise _unfit(folder, error) from error


def _unfit(folder: Path, error: Exception) -> MissingModel:
    return MissingModel(f"{folder} is no sentence encoder for mmr ({errors.first_line(error)}): {WAY_ON}")


def _found(name: str) -> Path:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists() or not _HUB_NAME.fullmatch(name):
        raise MissingModel(f"no folder {name}: check --set text_tower=sentence:FOLDER")
    repository = name if "/" in name else f"sentence-transformers/{name}"
    return hub.snapshot(repository, WEIGHTS, f"the sentence encoder {name}", WAY_ON)


def _read(folder: Path) -> SentenceFolder:
    config = typed.read(folder / "config.json", dict[str, Any]) if (folder / "config.json").is_file() else {}
    modules = _modules(folder)
    if config.get("model_type") == "model2vec" or modules[0].type == "StaticEmbedding":
        return _static(folder, config, modules)
    first, kinds = _within(folder, modules[0].path), [module.type for module in modules[:2]]
    if kinds != ["Transformer", "Pooling"]:
        raise Malformed(f"it begins with {' and '.join(kinds)} in place of Transformer and Pooling")
    if not (first / "config.json").is_file():
        raise Malformed("it has no config.json")
    config = typed.read(first / "config.json", dict[str, Any])
    reading = _said(first / "sentence_bert_config.json", _Reading)
    pooling, width = _pooling(_within(folder, modules[1].path), folder)
    return SentenceFolder(
        weights=_weights(first), tokenizer=_tokenizer(first), config=plain(config), pooling=pooling, width=width,
        tail=tuple(_step(folder, module) for module in modules[2:] if module.type != "Dropout"),
        context=_context(reading, config, first), lower=reading.do_lower_case, prefix=_prefix(folder),
    )  # fmt: skip


def _static(folder: Path, config: dict[str, Any], modules: list[_Module]) -> SentenceFolder:
    """model2vec's own layout, and sentence-transformers' StaticEmbedding, which cuts nothing and skips nothing."""
    own = config.get("model_type") == "model2vec"
    place = folder if own else _within(folder, modules[0].path)
    tail = [_step(folder, module) for module in modules[1:] if module.type != "Pooling"]
    if own:
        tail = [({"type": "normalize"}, None)] if config.get("normalize") else []
    context = config.get("max_length", 512) if own else None
    return SentenceFolder(
        weights=_weights(place), tokenizer=_tokenizer(place), config={}, tail=tuple(tail), static=True, skips=own,
        context=typed.checked(context, Annotated[int, Meta(ge=1, le=_LONGEST)] | None) or _LONGEST,  # type: ignore[arg-type]
    )  # fmt: skip


def _modules(folder: Path) -> list[_Module]:
    """modules.json; a folder without one is read as sentence-transformers reads it: the mean over a transformer."""
    if not (folder / "modules.json").is_file():
        return [_Module("", "Transformer"), _Module("", "Pooling")]
    found = typed.read(folder / "modules.json", list[_Module])
    if not 1 <= len(found) <= 16:
        raise Malformed(f"modules.json has {len(found)} parts")
    return [_Module(module.path, _kind(module.type)) for module in found]


def _kind(name: str) -> str:
    found = _OWN.fullmatch(name)
    if not found:
        raise Malformed(f"modules.json names `{name}`, of which mmr runs nothing")
    return found[1]


def _within(folder: Path, path: str) -> Path:
    """A part's folder. Raises Malformed for one that is elsewhere."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        raise Malformed(f"modules.json names {path}, which is elsewhere")
    return folder / pure


def _said(file: Path, kind: type) -> Any:
    return typed.read(file, kind) if file.is_file() else kind()


def _weights(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise Malformed(f"it has no {' or '.join(WEIGHTS)}")


def _tokenizer(folder: Path) -> Path:
    if not (folder / _TOKENIZER).is_file():
        raise Malformed(f"it has no {_TOKENIZER}: sentence-transformers writes one when it saves the encoder again")
    return folder / _TOKENIZER


# ---------------------------------------------------------------- the parts


def plain(config: dict[str, Any]) -> dict[str, Any]:
    """What of a config.json says how the transformer is built. Raises Malformed where it wants code to run."""
    if config.get("auto_map"):
        raise Malformed("its config.json wants code of its own to run (auto_map)")
    if not isinstance(config.get("model_type"), str):
        raise Malformed("its config.json has no model_type")
    kept = {key: value for key, value in config.items() if not _NOISE.fullmatch(key) and value is not None}
    if kept.get("pad_token_id", 0) == -1:  # none
        del kept["pad_token_id"]
    return kept


def _pooling(place: Path, folder: Path) -> tuple[tuple[str, ...], int | None]:
    """The ways in which words become one vector, and the width of a word; a folder without such a part has the mean."""
    if place == folder:
        return ("mean",), None
    said = typed.read(place / "config.json", dict[str, Any])
    if said.get("include_prompt") is False and _prefix(folder):
        raise Malformed("its pooling leaves its prompt out, which mmr does not")
    named = said.get("pooling_mode")
    if named is None:
        flags = {"cls": "cls_token", "max": "max_tokens", "mean": "mean_tokens", "weightedmean": "weightedmean_tokens"}
        named = [mode for mode in POOLED if said.get(f"pooling_mode_{flags.get(mode, mode)}")] or ["mean"]
    modes = [named] if isinstance(named, str) else named
    if not isinstance(modes, list) or not 1 <= len(modes) <= len(POOLED) or not all(mode in POOLED for mode in modes):
        raise Malformed(f"it pools by {named}, which is not one of {', '.join(POOLED)}")
    width = said.get("embedding_dimension", said.get("word_embedding_dimension"))
    return tuple(modes), typed.checked(width, Width | None)  # type: ignore[arg-type]


def _step(folder: Path, module: _Module) -> tuple[Spec, Path | None]:
    """What follows the pooling, as the tower has it."""
    if module.type == "Normalize":
        return {"type": "normalize"}, None
    if module.type != "Dense":
        raise Malformed(f"a {module.type} stands behind the pooling")
    place = _within(folder, module.path)
    said = typed.read(place / "config.json", _Dense)
    activation = _ACTIVATION.fullmatch(said.activation_function)
    if not activation or said.module_input_name != "sentence_embedding" or said.use_residual:
        raise Malformed(f"{module.path} is a Dense of a kind that mmr has not ({said.activation_function})")
    sizes = {"inside": said.in_features, "outside": said.out_features, "bias": said.bias}
    return {"type": "dense", **sizes, "activation": activation[1]}, _weights(place)


def _context(reading: _Reading, config: dict[str, Any], folder: Path) -> int:
    """Tokens of the longest text: as said, and no more than the transformer has places for."""
    said = _said(folder / "tokenizer_config.json", dict[str, Any]).get("model_max_length")
    known = [reading.max_seq_length or said, config.get("max_position_embeddings"), _LONGEST]
    longest, places, most = (size if isinstance(size, int | float) and size > 0 else _LONGEST for size in known)
    if config.get("model_type") in _BEHIND_PAD and places < _LONGEST:
        places -= config.get("pad_token_id", 1) + 1  # whose places are counted from behind that number
    return max(1, int(min(longest, places, most)))


def _prefix(folder: Path) -> str:
    """What sentence-transformers puts before every text."""
    said = _said(folder / "config_sentence_transformers.json", _Prompts)
    return (said.prompts or {}).get(said.default_prompt_name or "", "")
