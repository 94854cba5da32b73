"""Appends a copy of a table's first row by PyIceberg, as a foreign writer that knows nothing of keys.

    plant_duplicate.py TABLE_DIRECTORY...

The commit is made on a throw-away catalog; its metadata then becomes the next version of the filesystem table.
"""

import pathlib
import shutil
import sys
import tempfile

from pyiceberg.catalog.sql import SqlCatalog


def plant(directory):
    metadata = directory / "metadata"
    hint = metadata / "version-hint.text"
    version = int(hint.read_text())
    with tempfile.TemporaryDirectory() as scratch:
        catalog = SqlCatalog("scratch", uri=f"sqlite:///{scratch}/catalog.db", warehouse=f"file://{scratch}")
        catalog.create_namespace("n")
        table = catalog.register_table("n.t", str(metadata / f"v{version}.metadata.json"))
        row = table.scan(limit=1).to_arrow()
        table.append(row)
        written = table.metadata_location.removeprefix("file://")
        shutil.copyfile(written, metadata / f"v{version + 1}.metadata.json")
    hint.write_text(str(version + 1))
    return row.to_pylist()[0]


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(f"{name}: doubled {plant(pathlib.Path(name))}")
