"""Heads: fitted in seconds on the vectors that search uses, to classify what is seen and said together.

examples = open_examples("csv:products.csv", "articleType")
inputs = inputs.encode(examples.items, encoder)
head = train_head(examples, inputs, encoder, HeadConfig(fusion="attention"))
head.save("heads/article")
"""
