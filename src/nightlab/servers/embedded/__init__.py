"""The embedded model server: a real transformers model with many LoRA conditions in one batch, spoken to as vLLM is."""
