"""Cover detection: chroma, patches, embeddings, search, alignment and metrics."""
