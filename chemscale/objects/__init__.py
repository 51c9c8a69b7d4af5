"""Object stores: runs, corpora, structure stores and sources at ``s3://…`` and ``gs://…``, through fsspec.

Work is done on a disk: training renames, locks and maps files, and an object store does none of these. What
an address names has a working copy on this machine, and the two are kept in step. Nothing here imports torch,
and fsspec only where an address is used.
"""
