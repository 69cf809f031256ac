"""The section ``[loader]``: where single-file plugins lie, and how long a plugin may take."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen, validators

from heartwood.contracts.settings import setting


@frozen
class LoaderSettings:
    """How plugins are found, imported, started and stopped."""

    plugins_dir: str = setting(
        "",
        help="Folder of single-file plugins (*.py), seen from the folder of plugins.toml; empty: there are none.",
    )
    import_timeout: float = setting(10.0, help="Seconds the import of one plugin may take.", validator=validators.gt(0))
    start_timeout: float = setting(30.0, help="Seconds a plugin may take to start.", validator=validators.gt(0))
    stop_timeout: float = setting(10.0, help="Seconds a plugin may take to stop.", validator=validators.gt(0))
    retry_first: float = setting(
        1.0, help="Seconds before a plugin whose upstream is away is started again.", validator=validators.gt(0)
    )
    retry_longest: float = setting(
        60.0, help="Longest wait in seconds between two such tries; it doubles until then.", validator=validators.gt(0)
    )

    def folder(self, file: Path | None) -> Path | None:
        """Return where single-file plugins lie, or None; ``file`` is the configuration."""
        if not self.plugins_dir:
            return None
        return (file.parent if file else Path()) / Path(self.plugins_dir).expanduser()
