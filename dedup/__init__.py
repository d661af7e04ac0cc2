"""Find duplicate images by what they show, and remove them so that every one can come back.

    from dedup import Config, find_duplicates

    result = find_duplicates(Config.load(configs, images_dir="photos"))
    for cluster in result.clusters:
        print(cluster.members)

A folder comes in; clusters of files that show one picture go out, each with the file that stays, and of the others
which may go for it. The rooms, in the order of the data: dataset, encoder, matching, contents, clustering, deletion.
Beside that way lie evaluation, report, training and distributed. Outside of rooms:

    config.py    settings: types, ranges and help, in one table
    pipeline.py  the way of the data, room by room
    store.py     what earlier runs found out, by the contents of files, in output_dir/cache.sqlite
    workers.py   processes for work that may crash or hang: that costs one file, not the run; a spool
    output.py    what a run writes for people: numbers, tables, whole files, and how far it is
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "config": ["Config", "ConfigError"],
        "pipeline": ["find_duplicates"],
        "clustering.result": ["Result"],
    },
)
