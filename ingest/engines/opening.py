"""The engines by name."""

from ingest.engines.engine import Engine, EngineSettings
from ingest.engines.local_engine import Here, Processes


def open_engine(settings: EngineSettings, *, processes: int = 1) -> Engine:
    """The engine that the settings name.

    Args:
        processes: of the local engine; 1 is this very process.
    Raises:
        UsageError: Ray is asked for and not installed.
    """
    if settings.name == "local":
        return Processes(processes) if processes > 1 else Here()
    from ingest.engines.ray_engine import RayEngine

    return RayEngine(settings)
