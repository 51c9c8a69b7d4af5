"""GPUs of this machine, as its driver lists them."""

from chemscale.launchers.local.gpus import parse_gpu_list


def test_gpus_are_named_by_what_they_are_and_divided_ones_by_their_parts():
    listing = (
        "GPU 0: NVIDIA H100 (UUID: GPU-aaa)\n"
        "  MIG 3g.40gb     Device  0: (UUID: MIG-bbb)\n"
        "  MIG 3g.40gb     Device  1: (UUID: MIG-ccc)\n"
        "GPU 1: NVIDIA H100 (UUID: GPU-ddd)\n"
    )
    assert parse_gpu_list(listing) == ["MIG-bbb", "MIG-ccc", "GPU-ddd"]
