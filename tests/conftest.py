"""What the tests share: drawn pairs, a toy encoder that needs no training, a run trained in seconds, the real data."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from retrieval.sources.picturebook import scenes
from toy import ToyEncoder

os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks a network
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_addoption(parser):
    parser.addoption("--soak", action="store_true", help="all fault points and all tests, not a sample: `make soak`")


def pytest_collection_modifyitems(config, items):
    """What is marked slow is for --soak; what brings threads of Ray into a process, which others fork, comes last."""
    items.sort(key=lambda item: item.path.name.startswith("test_cluster"))
    if not config.getoption("--soak"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


@pytest.fixture(scope="session")
def soak(request):
    """Whether there is time for everything."""
    return request.config.getoption("--soak")


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    """A cache of the tests' own, not the user's, and nothing of what the user said once for every command."""
    os.environ["MMR_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["MMR_CONFIG"] = str(tmp_path_factory.mktemp("config") / "none.toml")
    for name in ("MMR_MODEL", "MMR_INDEX", "MMR_DEVICE"):
        os.environ.pop(name, None)
    os.environ["MMR_ENGINE"] = "torch"  # no encoder is made ready, but by the tests of that
    return Path(os.environ["MMR_CACHE"])


@pytest.fixture
def shared():
    """The folder of real data beside the project, where there is one."""
    if not SHARED.is_dir():
        pytest.skip("the shared real data is not on this machine")
    return SHARED


@pytest.fixture
def toy():
    return ToyEncoder()


@pytest.fixture
def photos(tmp_path):
    """A folder with a red, a green and a blue picture; the green one in a folder of its own, with a caption."""
    from PIL import Image

    root = tmp_path / "photos"
    (root / "more").mkdir(parents=True)
    Image.new("RGB", (20, 10), (255, 0, 0)).save(root / "red.png")
    Image.new("RGB", (10, 20), (0, 255, 0)).save(root / "more" / "green.jpg")
    (root / "more" / "green.txt").write_text("a green field\n")
    Image.new("RGB", (16, 16), (0, 0, 255)).save(root / "blue é.png")
    return root


@pytest.fixture
def pictures():
    """Three of noise: uint8 (32, 32, 3)."""
    return list(np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8))


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    """60 drawn scenes as files with a pairs.csv (image, caption, split): the first 50 are train."""
    root = tmp_path_factory.mktemp("book")
    lines = ["image,caption,split"]
    for number, scene in enumerate(scenes(60)):
        scene.draw(48).save(root / f"{number:03d}.png")
        split = "train" if number < 50 else "dev"
        lines += [f'{number:03d}.png,"{caption}",{split}' for caption in scene.captions()]
    (root / "pairs.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="session")
def trained(tmp_path_factory, book):
    """A run folder, trained for seconds: it runs, it knows next to nothing."""
    from retrieval import open_pairs, recipes
    from retrieval.training.loop import train

    out = tmp_path_factory.mktemp("runs") / "smoke"
    train(open_pairs(f"csv:{book}/pairs.csv?split=train"), out, recipes.smoke())
    return out


@pytest.fixture(scope="module")
def indexed(tmp_path_factory, trained, book):
    """An index of the 60 scenes with the run that was trained for seconds; what changes it takes a copy."""
    from terminal import mmr

    index = tmp_path_factory.mktemp("cli") / "photos.mmr"
    result = mmr("index", book, "--index", index, "--model", trained)
    assert result.exit_code == 0, result.output
    return index


@pytest.fixture
def vectors(photos):
    """Of the three pictures, in the order of foreign.NAMES: float32 (3, 512)."""
    from foreign import NAMES, Wide
    from retrieval.images.load import decode

    return Wide().encode_images([decode(photos / name) for name in NAMES])


@pytest.fixture
def rclip(tmp_path, photos, vectors):
    """A database of rclip's with the three pictures."""
    from foreign import NAMES, rclip_database, rclip_row

    rows = [rclip_row(photos / name, vector) for name, vector in zip(NAMES, vectors, strict=True)]
    return rclip_database(tmp_path / "db.sqlite3", rows)


@pytest.fixture(scope="session")
def open_clips(tmp_path_factory):
    """Small open_clip models, made here: name -> `open_clip:NAME/FILE` of random weights. A ViT and a ResNet."""
    import open_clip
    import torch

    folder = tmp_path_factory.mktemp("open_clips")
    towers = {
        "mmr-toy-vit": {"image_size": 32, "layers": 3, "width": 64, "patch_size": 8, "head_width": 32},
        "mmr-toy-resnet": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None, "head_width": 32},
    }
    text = {"context_length": 32, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
    names = {}
    for name, vision in towers.items():
        config = {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}
        (folder / f"{name}.json").write_text(json.dumps(config))
        open_clip.add_model_config(folder / f"{name}.json")
        torch.manual_seed(0)
        torch.save(open_clip.create_model(name).state_dict(), folder / f"{name}.pt")
        names[name] = f"open_clip:{name}/{folder / name}.pt"
    return names


@pytest.fixture(scope="session")
def tiny_open_clip(tmp_path_factory):
    """A small open_clip architecture under a name of its own, and a file of random weights for it."""
    import open_clip
    import torch

    folder = tmp_path_factory.mktemp("open_clip")
    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16, "head_width": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
    }
    (folder / "mmr-tiny.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / "mmr-tiny.json")
    torch.manual_seed(0)
    model = open_clip.create_model("mmr-tiny")
    torch.save(model.state_dict(), folder / "weights.pt")
    return model.eval(), folder / "weights.pt"


@pytest.fixture
def index(photos, toy):
    """An index of the three pictures, by the toy."""
    from retrieval import Retriever

    Retriever.build(str(photos), photos / ".mmr", toy)[0].close()
    return photos / ".mmr"


@pytest.fixture
def client(index):
    """A client of a server of that index."""
    from serving import served

    with served(index) as made:
        yield made
