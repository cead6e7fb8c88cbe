"""Training of LoRA adapters: supervised fine-tuning on chats, resumed where it was cut off, with proof of origin."""
