"""What PyIceberg sees of filesystem tables, as JSON: the snapshots and the data files of each.

    files.py TABLE_DIRECTORY...
"""

import json
import pathlib
import sys

from pyiceberg.table import StaticTable


def seen(directory):
    metadata = directory / "metadata"
    version = int((metadata / "version-hint.text").read_text())
    table = StaticTable.from_metadata(str(metadata / f"v{version}.metadata.json"))
    return {
        "snapshots": sorted(snapshot.snapshot_id for snapshot in table.metadata.snapshots),
        "files": sorted(task.file.file_path for task in table.scan().plan_files()),
    }


if __name__ == "__main__":
    print(json.dumps({name: seen(pathlib.Path(name)) for name in sys.argv[1:]}))
