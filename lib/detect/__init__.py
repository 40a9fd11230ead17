"""Which tracks are versions of one work: chroma, patches, embeddings, search, alignment, and how well they do."""
