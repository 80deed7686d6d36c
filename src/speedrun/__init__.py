"""speedrun: an automated benchmark of AI agents doing language-model research."""

__version__ = "0.1.0"
