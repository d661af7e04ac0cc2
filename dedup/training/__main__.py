"""python -m dedup.training: see `dedup.training.command`."""

from dedup.training.command import main

main()
