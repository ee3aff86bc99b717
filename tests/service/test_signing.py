import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadRequest
from app.http.signing import Signer
from app.secret import service_secret
from app.settings import Settings

SIGNER = Signer(b"k" * 32)


def test_what_was_signed_is_read() -> None:
    token = SIGNER.sign([1, "a"], ["jobs", {"state": None}])
    assert SIGNER.read(token, ["jobs", {"state": None}]) == [1, "a"]
    for purpose in (["jobs", {"state": "x"}], ["teachers", {"state": None}]):
        with pytest.raises(BadRequest):
            SIGNER.read(token, purpose)
    with pytest.raises(BadRequest):
        Signer(b"other").read(token, ["jobs", {"state": None}])


@given(st.text() | st.text("abcAB012-_", min_size=20))
def test_made_up_tokens(token: str) -> None:
    with pytest.raises(BadRequest):
        SIGNER.read(token, [])


def test_a_random_secret_is_kept(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: service_secret(settings), range(16)))
    assert found == {service_secret(settings)}
    assert stat.S_IMODE((tmp_path / "home" / "secret.key").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["secret.key"]


def test_a_secret_is_shared(tmp_path: Path) -> None:
    homes = [Settings(home=tmp_path / name, secret="s") for name in "ab"]
    assert len({service_secret(settings) for settings in homes}) == 1
    assert service_secret(Settings(home=tmp_path / "a", secret="t")) != service_secret(homes[0])
