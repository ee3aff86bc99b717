"""Brings the database to the newest revision: at the service's start, or by itself."""

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import OperationalError

import migrations
from app.settings import Settings, get_settings, usable_home


def configuration(settings: Settings) -> Config:
    """Alembic's, without any file: it works from an installed package."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["settings"] = settings
    return config


def upgrade(settings: Settings) -> None:
    """Services that start together wait for one another."""
    command.upgrade(configuration(settings), "head")


def unreachable(error: OperationalError) -> str:
    """What to say of a database that does not answer: the driver's own first line."""
    reason = str(error.orig).strip().splitlines()[0]
    return f"the database of STILLHOUSE_DATABASE_URL does not answer: {reason}"


def main() -> int:
    settings = get_settings()
    usable_home(settings)
    try:
        upgrade(settings)
    except OperationalError as error:
        print(f"stillhouse: {unreachable(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
