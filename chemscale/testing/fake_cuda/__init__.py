"""A CUDA device that is not there, for a CPU build of torch: whole training steps on fake tensors.

Nothing is computed. What is learnt all the same: whether every tensor is on the right device in the right
precision, where the host waits for the device, and how many operations, kernels, bytes and FLOPs a step has.
"""
