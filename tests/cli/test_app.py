"""The command itself: plugins' commands beside those of the kernel."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from heartwood.cli.app import root


@pytest.mark.parametrize("fault", ["import not_there", "1 / 0", "raise SystemExit(3)", "broken = 1"])
def test_a_command_that_cannot_be_imported_is_one_sentence(tmp_path, monkeypatch, fault):
    """Whatever its module does, the package is named, no traceback is shown, and the other commands work."""
    info = tmp_path / "broken_hub-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-hub\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[heartwood.commands]\nbroken = broken_{abs(hash(fault))}:broken\n")
    (tmp_path / f"broken_{abs(hash(fault))}.py").write_text(f"{fault}\n")
    monkeypatch.syspath_prepend(tmp_path)

    done, listed = CliRunner().invoke(root, ["broken", "now"]), CliRunner().invoke(root, ["--help"])

    assert 1 == done.exit_code
    assert done.output.startswith("Error: the command 'broken' of broken-hub could not be loaded: ")
    assert 1 == len(done.output.splitlines())
    assert (0, True) == (listed.exit_code, "broken" in listed.output)
