"""Heads: fitted in seconds on the vectors that search uses, to classify what is seen and said together.

Examples:
    >>> from retrieval import load_encoder
    >>> from retrieval.heads.config import HeadConfig
    >>> from retrieval.heads.prepare import prepare, train_head
    >>> encoder = load_encoder("runs/mine")
    >>> rows = prepare("csv:products.csv?split=train", "articleType", "single", encoder, learn=True)
    >>> head, score = train_head(rows, encoder, HeadConfig(fusion="attention"))
    >>> head.save("heads/article")
"""
