import subprocess
import sys

HEAVY = ("torch", "workers", "sklearn", "scipy", "safetensors", "PIL")


def test_the_api_never_loads_torch() -> None:
    code = (
        "import sys; from app.main import create_app; create_app().openapi();"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
