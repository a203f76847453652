"""Sentence encoders of a few kilobytes, in the layouts of sentence-transformers and model2vec, with random weights."""

import json

import numpy as np
import torch
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "red", "green", "blue", "white", "square", "runs", "##s", "A"]
TEXTS = ["a dog", "a red square", "", "A Dog runs", "dogs dogs", "unknown words", "dog " * 40, "[PAD] a [SEP]"]
SMALL = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 14,
    "max_position_embeddings": 24,
}  # fmt: skip
CONFIGS = {
    "bert": SMALL | {"pad_token_id": 0},
    "roberta": SMALL | {"pad_token_id": 0, "type_vocab_size": 1},
    "distilbert": {
        "dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 2, "vocab_size": 14, "max_position_embeddings": 24,
    },
    "t5": {"d_model": 16, "d_ff": 24, "d_kv": 8, "num_heads": 2, "num_layers": 2, "vocab_size": 14},
}  # fmt: skip


def word_tokenizer(marks=True):
    """WordPiece over WORDS, with the marks of BERT or none."""
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(WORDS[:4])
    if marks:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    return tokenizer


def sentence_folder(folder, kind="bert", pooling=("mean",), tail=("normalize",), lower=False, prompt="", length=12):
    """A folder as sentence-transformers saves it; tail: "normalize" or (outside, name of a torch activation)."""
    import transformers

    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **CONFIGS[kind])
    auto = transformers.AutoModelForTextEncoding if config.is_encoder_decoder else transformers.AutoModel
    auto.from_config(config).save_pretrained(folder)
    word_tokenizer().save(str(folder / "tokenizer.json"))
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    put(folder / "tokenizer_config.json", names | {"tokenizer_class": "PreTrainedTokenizerFast"})
    put(folder / "sentence_bert_config.json", {"max_seq_length": length, "do_lower_case": lower})
    prompts = {"prompts": {"query": prompt}, "default_prompt_name": "query"} if prompt else {}
    put(folder / "config_sentence_transformers.json", prompts)
    modes = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "weightedmean": "weightedmean_tokens"}
    flags = {f"pooling_mode_{modes.get(mode, mode)}": True for mode in pooling}
    flags = {"pooling_mode_mean_tokens": False} | flags
    put(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 16, **flags})
    modules, width = ["Transformer", "Pooling"], 16 * len(pooling)
    for place, step in enumerate(tail, 2):
        if step == "normalize":
            modules.append("Normalize")
            continue
        modules.append("Dense")
        dense_folder(folder / f"{place}_Dense", width, *step)
        width = step[0]
    put(folder / "modules.json", [
        {"idx": i, "name": str(i), "path": f"{i}_{name}" if i else "", "type": f"sentence_transformers.models.{name}"}
        for i, name in enumerate(modules)
    ])  # fmt: skip
    return folder


def dense_folder(folder, inside, outside, activation="Tanh"):
    """A Dense of sentence-transformers."""
    where = "linear" if activation == "Identity" else "activation"
    said = {"activation_function": f"torch.nn.modules.{where}.{activation}", "bias": True}
    put(folder / "config.json", {"in_features": inside, "out_features": outside, **said})
    layer = torch.nn.Linear(inside, outside)
    weights = {f"linear.{name}": tensor.detach().numpy() for name, tensor in layer.named_parameters()}
    save_file(weights, folder / "model.safetensors")


def static_folder(folder, unit=True, mapped=False, dtype=np.float32, length=8):
    """A folder as model2vec saves it."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    table = (rng.normal(size=(5 if mapped else len(WORDS), 6)) * 50).astype(dtype)
    tensors = {"embeddings": table}
    if mapped:
        tensors["mapping"] = rng.integers(0, 5, len(WORDS))
        tensors["weights"] = rng.uniform(0.5, 2, len(WORDS)).astype(np.float32)
    save_file(tensors, folder / "model.safetensors")
    word_tokenizer(marks=False).save(str(folder / "tokenizer.json"))
    put(folder / "config.json", {"model_type": "model2vec", "normalize": unit, "max_length": length})
    return folder


def put(file, content):
    """Write JSON, the folders above it made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def change(file, **fields):
    """Other fields of a JSON file."""
    put(file, json.loads(file.read_text()) | fields)
