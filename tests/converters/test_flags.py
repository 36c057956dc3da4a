"""The options behind errors that propose arguments."""

from __future__ import annotations

import pytest
from caffe_compat.converters import cli, flags

from caffe_compat.errors import ShapeError


def test_each_proposed_argument_gets_its_option():
    error = ShapeError("no", remedies=["fork", "unknown", "batch"])
    assert flags.flags_of(error) == " (--fork NAME, --batch N|dynamic)"
    assert flags.flags_of(ShapeError("no")) == ""
    assert flags.flags_of(OSError("no")) == ""


@pytest.mark.parametrize("name", sorted(flags._FLAGS))
def test_every_option_exists(name):
    options = {
        option
        for command in cli.COMMANDS
        for parameter in cli.load_command(command).params
        for option in parameter.opts
    }
    words = {word.split()[0] for word in flags._FLAGS[name].split(", ") if word != "..."}
    assert words <= options
