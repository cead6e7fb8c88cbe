"""Model servers as leased, identified objects: start, prove, watch, adopt, stop; why one failed, and the remedy."""
