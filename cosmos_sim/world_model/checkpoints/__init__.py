"""Cosmos checkpoints: NVIDIA's, diffusers' and ours, read and written one tensor at a time.

A *container* (``torch_file``, ``dcp``, ``shards``) gives the tensors of a file or folder as ``name -> StoredTensor``;
*names* maps between NVIDIA's, diffusers' and our names; ``network``, ``adapter`` and ``vae`` put the two together for
each kind of artefact, and ``convert`` and ``load`` are what a user calls.
"""
