"""Errors that say that another rank is gone, and those that say why."""

from chemscale.launchers.verdicts import is_lost_peer


def test_an_error_that_only_says_that_another_rank_is_gone_is_told_from_others():
    assert is_lost_peer(
        RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:2")
    )
    wrapped = RuntimeError("in a step")
    wrapped.__cause__ = ConnectionResetError("Connection reset by peer")
    assert is_lost_peer(wrapped)
    assert not is_lost_peer(ValueError("loss is not finite"))
