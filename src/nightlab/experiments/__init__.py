"""What will be asked, frozen; what was answered, one line each; the runner between them."""
