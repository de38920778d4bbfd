"""The command line: `taichi-nerf train | eval | render | process | info | doctor | bench`.

    options    what the commands share
    main       parsing, sentences for errors, exit codes
    helping    the texts of --help as lines
    train eval render process info doctor bench
               a command each: its settings, and what it does
    scores     scores as a table
    trained    what a run was trained with, in sentences

Importing it loads neither PyTorch nor Taichi, so that --help is quick: a command imports what it needs when it runs.
"""

from .main import main, sentence_for
from .train import Train, train_defaults

__all__ = ["Train", "main", "sentence_for", "train_defaults"]
