"""Other people's checkpoints, one file per format. An importer has ``SUFFIXES`` and ``load(paths) -> Package``."""
