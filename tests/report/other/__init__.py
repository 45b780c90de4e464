"""A made-up method: one stage called `only`, no regions, no phrases; of the files for the report it has one."""
