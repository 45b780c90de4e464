"""Records and files that hypothesis makes, thrown at what reads them: nothing but our own errors leaves `vlp`, and what
is sound beside what is damaged keeps its values. `make test` throws a few, always the same; `make test-long` throws
others for `VLP_FUZZ_MINUTES` (30)."""
