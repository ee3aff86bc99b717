"""Brings the database to the newest revision: at the service's start, or by itself."""

from pathlib import Path

from alembic import command
from alembic.config import Config

import migrations
from app.settings import Settings, get_settings


def configuration(settings: Settings) -> Config:
    """Alembic's, without any file: it works from an installed package."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["settings"] = settings
    return config


def upgrade(settings: Settings) -> None:
    """Services that start together wait for one another."""
    command.upgrade(configuration(settings), "head")


if __name__ == "__main__":
    upgrade(get_settings())
