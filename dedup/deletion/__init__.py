"""Removal as a transaction: everything that was moved comes back with undo. Shown by notebooks/04_deletion.ipynb.

In:  clusters, or decisions that somebody made on the page.
Out: plan.jsonl; files in the trash folder .dedup-trash, with a journal; an Outcome: what was done, what was refused.

    removal.py         make_plan -> apply_plan -> undo or purge
    checks.py          both files checked again, right before a move
    folders.py         files reached without following a link
    trash.py           the trash folder: one run, one numbered folder with its journal
    journal.py         plan and journal as JSON lines; records.py: the records in a line
    outcome.py         done, refused, exit code
    applying.py        apply_decisions; decisions.py: the file that the page saves
    not_duplicates.py  pairs that somebody called no duplicates
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "removal": ["make_plan", "apply_plan", "undo", "purge"],
        "outcome": ["Outcome"],
        "applying": ["apply_decisions"],
        "decisions": ["write_decisions"],
        "not_duplicates": ["read_not_duplicates"],
    },
)
