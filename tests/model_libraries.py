"""timm and torchvision, in a folder of their own: torchvision would break what imports it where it is not meant.

Its extension fits one build of torch only. Where it does not load, ten lines stand in: see `zoo/image_models.py`.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from browsers import missing

ROOT = Path(__file__).parents[1]
PACKAGES = ("timm", "torchvision")
sys.path.append(str(ROOT / "tests" / "zoo"))

from image_models import stand_in  # noqa: E402


def folder() -> Path:
    """Where they are installed, in the versions of constraints.txt; fetched once."""
    text = (ROOT / "constraints.txt").read_text("utf-8")
    pinned = [re.search(rf"^{name}==\S+", text, re.MULTILINE)[0] for name in PACKAGES]  # type: ignore[index]
    place = Path.home() / ".cache" / "pfa_gate_tests" / "-".join(pinned).replace("==", "-")
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=place.parent))
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(fresh), *pinned]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(fresh)
            missing(f"pip cannot install {' and '.join(pinned)}: {done.stderr.strip().splitlines()[-1]}")
        try:
            fresh.rename(place)
        except OSError:  # another worker was faster
            shutil.rmtree(fresh)
    return place


@contextmanager
def importable() -> Iterator[None]:
    """Both can be imported inside the block; after it they are as if they had never been."""
    sys.path.insert(0, str(folder()))
    held = stand_in()
    try:
        yield
    finally:
        sys.path.remove(str(folder()))
        for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
            del sys.modules[name]
        del held
