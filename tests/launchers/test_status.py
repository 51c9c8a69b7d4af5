"""The table of where every point stands."""

from chemscale.launchers.status import Row, status_console, status_table


def test_a_reason_with_brackets_in_it_is_shown_as_it_is(capsys):
    reason = "failed: [/src/gloo/pair.cc:553] Connection closed by peer [127.0.0.1]:2"
    row = Row("n", "id", reason, "", "", "1 of 3", "7_0", "FAILED", "node1", "")
    shown = status_console()
    shown.width = 240
    shown.print(status_table([row]))
    assert reason in capsys.readouterr().err
