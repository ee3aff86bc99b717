from app.reference import OPENAPI, README, interface, settings_table, with_table
from app.settings import Settings


def test_the_readme_tells_of_every_setting_as_it_is() -> None:
    text = README.read_text()
    assert with_table(text) == text, "run python -m app.reference"


def test_every_setting_says_what_it_is_for() -> None:
    table = settings_table()
    for name, field in Settings.model_fields.items():
        assert field.description, f"{name} has no docstring"
        assert f"`STILLHOUSE_{name.upper()}`" in table


def test_the_interface_is_as_it_was_reviewed() -> None:
    assert interface() == OPENAPI.read_text(), "run make reference, and look at what changed"
