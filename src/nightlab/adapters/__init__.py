"""LoRA adapters: per-layer amplification read, resolved, and compiled to a new adapter folder; no torch anywhere."""
