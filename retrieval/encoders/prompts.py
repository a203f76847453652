"""The bank of prompts: what people photograph and look for, in several wordings.

It stands in for captions where an index has too few, and for queries about nothing that is there.
"""

from itertools import product

_TEMPLATES = (
    "a photo of {}", "{}", "a picture of {} outdoors", "{} in the background", "a close-up of {}",
    "two people and {}", "{} at night", "an old photo of {}",
)  # fmt: skip
_THINGS = """
a dog; a cat; a horse; a bird; a cow; a sheep; an elephant; a bear; a fish; a butterfly; a child; a baby; a man; a
woman; a family; a crowd; a wedding; a birthday party; a concert; a football match; a bicycle; a car; a bus; a
train; an aeroplane; a boat; a motorcycle; a truck; a street; a city skyline; a bridge; a church; a house; a
kitchen; a bedroom; a bathroom; an office; a garden; a forest; a mountain; a beach; the sea; a lake; a river; a
waterfall; snow; rain; a sunset; clouds; the moon; a flower; a tree; a field; a road; a table; a chair; a sofa; a
lamp; a book; a computer; a phone; a television; a clock; a bottle; a glass of wine; a cup of coffee; a cake; a
pizza; a salad; fruit; vegetables; a shirt; a dress; shoes; a hat; a bag; jewellery; glasses; a toy; a ball; a kite;
a skateboard; a surfboard; skis; a guitar; a piano; a painting; a statue; a sign; a map; a document; a screenshot; a
receipt; fireworks; a fire; a castle; a market; a playground; a swimming pool; a stadium; a museum; a zoo; a farm
""".strip().replace("\n", " ").split("; ")  # fmt: skip


def things() -> list[str]:
    """What people photograph and look for."""
    return list(_THINGS)


def prompts() -> list[str]:
    """The bank: things that people photograph and look for, each in several wordings."""
    return [template.format(thing) for template, thing in product(_TEMPLATES, _THINGS)]
