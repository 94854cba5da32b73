"""Reads tables with engines that are not ours, at every retained snapshot, and compares them with what a model says.

    interop.py WAREHOUSE [--spark RUNTIME_JAR] [--mutants]

WAREHOUSE/expected.json names the tables of the namespace `interop`: {table: {"head": STATE, "snapshots": {id: STATE}, "data_files": n,
"delete_files": n, "deleted_rows": n}}, and a STATE is {"columns": [name, ...], "rows": [row, ...]} with values as `compare_table.py` has
them. A matrix is printed, with how many states each engine read; the exit code is the number of cells that differ. How many retained
snapshots have data files of which partitioning is printed too, and none of those that are promised may be missing.

What Spark shows in `.files` and `.position_deletes` is compared, row by row, with the manifests and delete files, which are read here
as plain Avro, Parquet and Roaring bitmaps.

With --mutants, tables are damaged in ways that a writer could get wrong (see `MUTANTS`), and each damage must be noticed by an engine or
by the checks of form; by whom is printed.
"""

import argparse
import collections
import json
import pathlib
import shutil
import sys
import zlib

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
from pyroaring import BitMap

from compare_table import DuckDb, PyIceberg, difference, multiset, newest_metadata


class Spark:
    """One warm session for all tables."""

    def __init__(self, warehouse, runtime, cores="1"):
        from pyspark.sql import SparkSession

        settings = {
            "spark.jars": runtime,
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.memory": "1g",
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.shuffle.partitions": "1",
            "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
            "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
            "spark.sql.catalog.lake.type": "hadoop",
            "spark.sql.catalog.lake.warehouse": f"file://{warehouse}",
            "spark.sql.catalog.lake.cache-enabled": "false",
        }
        builder = SparkSession.builder.master(f"local[{cores}]").appName("interop")
        for name, value in settings.items():
            builder = builder.config(name, value)
        self.session = builder.getOrCreate()
        self.session.sparkContext.setLogLevel("ERROR")

    def table(self, table):
        return SparkTable(self.session, f"lake.interop.`{table.name}`")

    def stop(self):
        self.session.stop()


class SparkTable:
    def __init__(self, session, name):
        self.session, self.name = session, name

    def rows(self, columns, snapshot=None):
        names = ", ".join(f"`{name}`" for name in columns)
        at = f" VERSION AS OF {snapshot}" if snapshot is not None else ""
        return [list(row) for row in self.session.sql(f"SELECT {names} FROM {self.name}{at}").collect()]

    def metadata(self, table, columns):
        """The rows of a metadata table, in some order."""
        query = f"SELECT {', '.join(columns)} FROM {self.name}.{table}"
        return collections.Counter(tuple(row) for row in self.session.sql(query).collect())


class Snapshot:
    """The files of a snapshot, by default the head, read as plain Avro."""

    def __init__(self, table, snapshot=None):
        self.metadata = json.loads(newest_metadata(table).read_text())
        chosen = snapshot or self.metadata.get("current-snapshot-id")
        found = [snapshot for snapshot in self.metadata.get("snapshots", []) if snapshot["snapshot-id"] == chosen]
        self.list = local(found[0]["manifest-list"]) if found else None
        self.manifests = records(self.list) if found else []

    def entries(self, content):
        """The manifest and the entry of each live data file (0) or delete file (1)."""
        for manifest in self.manifests:
            if manifest["content"] == content:
                for entry in records(local(manifest["manifest_path"])):
                    if entry["status"] != 2:
                        yield manifest, entry

    def deletes(self):
        return self.entries(1)

    def partitionings(self):
        """The transforms by which its live data files are partitioned."""
        specs = {spec["spec-id"]: [field["transform"] for field in spec["fields"]] for spec in self.metadata["partition-specs"]}
        used = {manifest["partition_spec_id"] for manifest, _ in self.entries(0)}
        transforms = {transform.split("[")[0] for spec in used for transform in specs[spec]}
        return transforms | ({"whole"} if any(set(specs[spec]) <= {"void"} for spec in used) else set())

    def files(self):
        """What `.files` shows."""
        return collections.Counter(
            (
                manifest["content"],
                entry["data_file"]["file_path"],
                entry["data_file"]["file_format"].upper(),
                manifest["partition_spec_id"],
                entry["data_file"]["record_count"],
                local(entry["data_file"]["file_path"]).stat().st_size,
            )
            for content in (0, 1)
            for manifest, entry in self.entries(content)
        )

    def deleted_positions(self):
        """What `.position_deletes` shows."""
        found = collections.Counter()
        for _, entry in self.deletes():
            file = entry["data_file"]
            if file["file_format"].lower() == "puffin":
                found.update((file["referenced_data_file"], position) for position in Vector(file).positions())
            else:
                rows = pq.read_table(local(file["file_path"])).to_pylist()
                found.update((row["file_path"], row["pos"]) for row in rows)
        return found


def sequence_number(manifest, entry):
    """The entry's own, or what a new entry inherits."""
    own = entry["sequence_number"]
    return manifest["sequence_number"] if own is None else own


class Vector:
    """A deletion vector in its Puffin file: length, magic, number of bitmaps, (key, bitmap)..., checksum. Ours are of small files."""

    MAGIC = bytes.fromhex("d1d33964")
    BITMAP = 20

    def __init__(self, file):
        self.path, self.offset = local(file["file_path"]), file["content_offset"]
        self.blob = self.path.read_bytes()[self.offset :][: file["content_size_in_bytes"]]

    def problems(self, cardinality):
        if self.blob[4:8] != self.MAGIC or int.from_bytes(self.blob[8:16], "little") != 1:
            return [f"{self.path} has no vector at {self.offset}"]
        found = []
        if int.from_bytes(self.blob[:4], "big") != len(self.blob) - 8:
            found.append(f"{self.path} has a vector of another length at {self.offset}")
        if zlib.crc32(self.blob[4:-4]) != int.from_bytes(self.blob[-4:], "big"):
            found.append(f"{self.path} has a vector with a wrong checksum at {self.offset}")
        if len(self.positions()) != cardinality:
            found.append(f"{self.path} deletes {len(self.positions())} rows, and its manifest says {cardinality}")
        return found

    def positions(self):
        return BitMap.deserialize(self.blob[self.BITMAP : -4])

    def replace(self, blob):
        """Whether another blob takes no more room and no less, and is there now."""
        if len(blob) != len(self.blob):
            return False
        file = self.path.read_bytes()
        self.path.write_bytes(file[: self.offset] + blob + file[self.offset + len(blob) :])
        return True


def local(location):
    return pathlib.Path(location.removeprefix("file://"))


def records(path):
    with path.open("rb") as file:
        return list(fastavro.reader(file))


def form(table):
    """What the specification asks of delete files and few readers look at."""
    problems = []
    snapshot = Snapshot(table)
    vectors = collections.Counter()
    data = {entry["data_file"]["file_path"]: sequence_number(manifest, entry) for manifest, entry in snapshot.entries(0)}
    for manifest, entry in snapshot.deletes():
        file = entry["data_file"]
        referenced = file["referenced_data_file"]
        if data.get(referenced, 0) > sequence_number(manifest, entry):
            problems.append(f"{file['file_path']} is older than the file whose rows it deletes")
        if not referenced:
            problems.append(f"{file['file_path']} does not say whose rows it deletes")
        elif file["file_format"].lower() == "puffin":
            vectors[referenced] += 1
            problems += Vector(file).problems(file["record_count"])
        else:
            rows = pq.read_table(local(file["file_path"])).to_pylist()
            pairs = [(row["file_path"], row["pos"]) for row in rows]
            if pairs != sorted(pairs):
                problems.append(f"{file['file_path']} is not sorted")
            if {path for path, _ in pairs} != {referenced}:
                problems.append(f"{file['file_path']} speaks of other files than it says")
    problems += [f"{path} has {count} deletion vectors" for path, count in vectors.items() if count > 1]
    return problems


def states(expected):
    yield "head", None, expected["head"]
    for snapshot, state in expected["snapshots"].items():
        yield f"snapshot {snapshot}", int(snapshot), state


def differences(engine, reader, expected):
    """How many states were read, and how many of them were wrong or could not be read."""
    read = wrong = 0
    for where, snapshot, state in states(expected):
        try:
            found = reader.rows(state["columns"], snapshot)
        except Exception as error:
            print(f"{engine}, {where}: {type(error).__name__}: {str(error).splitlines()[0]}")
            wrong += 1
            continue
        read += 1
        wrong += difference(engine, where, found, state["rows"])
    return read, wrong


FILES = ("content", "file_path", "file_format", "spec_id", "record_count", "file_size_in_bytes")
PARTITIONINGS = ("whole", "day", "bucket", "truncate")


def metadata_tables(spark, table, expected):
    """Whether Spark's metadata tables show what the files of the head say, and the writer said."""
    snapshot = Snapshot(table)
    files, deleted = snapshot.files(), snapshot.deleted_positions()
    counts = collections.Counter(content for content, *_ in files.elements())
    said = counts[0] == expected["data_files"] and counts[1] == expected["delete_files"]
    yield 1, int(not said or spark.metadata("files", FILES) != files)
    said = deleted.total() == expected["deleted_rows"]
    yield 1, int(not said or spark.metadata("position_deletes", ("file_path", "pos")) != deleted)


def compare(warehouse, all_expected, spark):
    """Prints the matrix; how many cells differ."""
    engines = ["form", "PyIceberg", "DuckDB"] + (["Spark", ".files", ".position_deletes"] if spark else [])
    print(f"{'table':<20} {'snapshots':>9} {'deletes':>7}  " + "  ".join(engine.ljust(9) for engine in engines))
    wrong = 0
    total, partitioned = collections.Counter(), collections.Counter()
    for name, expected in all_expected.items():
        table = warehouse / "interop" / name
        problems = form(table)
        for problem in problems:
            print(problem)
        results = [(1, len(problems))]
        readers = {"PyIceberg": PyIceberg(table), "DuckDB": DuckDb(table)} | ({"Spark": spark.table(table)} if spark else {})
        for engine, reader in readers.items():
            results.append(differences(engine, reader, expected))
            total[engine] += results[-1][0]
        if spark:
            results.extend(metadata_tables(readers["Spark"], table, expected))
        for snapshot in expected["snapshots"]:
            partitioned.update((name[:2], by) for by in Snapshot(table, int(snapshot)).partitionings())
        cells = [f"{read} ok" if not bad else f"{bad} WRONG" for read, bad in results]
        wrong += sum(1 for _, bad in results if bad)
        shown = "  ".join(cell.ljust(9) for cell in cells)
        print(f"{name:<20} {len(expected['snapshots']):>9} {expected['delete_files']:>7}  {shown}", flush=True)
    print("states read: " + ", ".join(f"{count} by {engine}" for engine, count in total.items()))
    print("snapshots with data files that are partitioned by:")
    for version in ("v2", "v3"):
        shown = {by: count for (of, by), count in sorted(partitioned.items()) if of == version}
        print(f"  {version}: " + ", ".join(f"{by} {count}" for by, count in shown.items()))
        missing = [by for by in PARTITIONINGS if not shown.get(by)]
        if missing:
            print(f"  {version}: none by {', '.join(missing)}")
        wrong += len(missing)
    return wrong


def edit_avro(path, change):
    """Rewrites an Avro file with its own schema and metadata; whether anything was changed."""
    with path.open("rb") as file:
        reader = fastavro.reader(file)
        schema, metadata = reader.writer_schema, dict(reader.metadata)
        rows = list(reader)
    changed = [change(row) for row in rows]
    kept = {key: value for key, value in metadata.items() if not key.startswith("avro.")}
    with path.open("wb") as file:
        fastavro.writer(file, schema, rows, metadata=kept)
    return any(changed)


def wrong_sequence_number(snapshot):
    def change(manifest):
        is_delete = manifest["content"] == 1
        if is_delete:
            manifest["sequence_number"] = manifest["min_sequence_number"] = 1
        return is_delete

    def of_entry(entry):
        entry["sequence_number"] = 1
        return True

    for manifest in snapshot.manifests:
        if manifest["content"] == 1:
            edit_avro(local(manifest["manifest_path"]), of_entry)
    return edit_avro(snapshot.list, change)


def edit_positions(snapshot, change):
    paths = {entry["data_file"]["file_path"] for _, entry in snapshot.deletes()}
    changed = False
    for path in (path for path in paths if path.endswith(".parquet")):
        table = pq.read_table(local(path))
        edited = change(table)
        changed |= edited is not None
        if edited is not None:
            pq.write_table(edited, local(path))
    return changed


def unsorted_positions(snapshot):
    return edit_positions(snapshot, lambda table: table.take(list(range(len(table)))[::-1]) if len(table) > 1 else None)


def off_by_one(snapshot):
    def change(table):
        positions = pa.array([position + 1 for position in table["pos"].to_pylist()], pa.int64())
        return table.set_column(1, table.schema.field(1), positions)

    return edit_positions(snapshot, change)


def edit_vectors(snapshot, change):
    return any([vector.replace(change(vector)) for vector in [Vector(entry["data_file"]) for _, entry in snapshot.deletes()]])


def vector_off_by_one(snapshot):
    def change(vector):
        checked = vector.blob[4 : Vector.BITMAP] + BitMap(position + 1 for position in vector.positions()).serialize()
        return vector.blob[:4] + checked + zlib.crc32(checked).to_bytes(4, "big")

    return edit_vectors(snapshot, change)


def vector_with_wrong_checksum(snapshot):
    return edit_vectors(snapshot, lambda vector: vector.blob[:-1] + bytes([vector.blob[-1] ^ 1]))


def edit_entries(snapshot, change):
    """Changes the data file that each entry of a delete file has."""

    def of_entry(entry):
        change(entry["data_file"])
        return True

    manifests = {manifest["manifest_path"] for manifest, _ in snapshot.deletes()}
    return any([edit_avro(local(path), of_entry) for path in manifests])


def without_referenced_data_file(snapshot):
    return edit_entries(snapshot, lambda file: file.update(referenced_data_file=None))


def wrong_cardinality(snapshot):
    return edit_entries(snapshot, lambda file: file.update(record_count=file["record_count"] + 1))


def wrong_offset(snapshot):
    return edit_entries(snapshot, lambda file: file.update(content_offset=file["content_offset"] + 1))


MUTANTS = {
    "v2": (wrong_sequence_number, unsorted_positions, without_referenced_data_file, off_by_one),
    "v3": (
        wrong_sequence_number,
        without_referenced_data_file,
        vector_off_by_one,
        vector_with_wrong_checksum,
        wrong_cardinality,
        wrong_offset,
    ),
}


def mutants(warehouse, all_expected, spark):
    """Damages copies of tables; how many damages went unnoticed."""
    if spark:
        spark.session.sparkContext.setLogLevel("OFF")
    missed = 0
    for version, mutate in ((version, mutate) for version, all in MUTANTS.items() for mutate in all):
        tried = caught = 0
        by = collections.Counter()
        for name, expected in all_expected.items():
            if not name.startswith(version) or not expected["delete_files"]:
                continue
            table = warehouse / "interop" / name
            kept = warehouse / "interop" / f"{name}.kept"
            shutil.copytree(table, kept)
            try:
                if not mutate(Snapshot(table)):
                    continue
                tried += 1
                noticed = who_notices(table, expected["head"], spark)
                by.update(noticed)
                caught += bool(noticed)
            finally:
                shutil.rmtree(table)
                kept.rename(table)
        shown = ", ".join(f"{engine} {count}" for engine, count in by.items())
        print(f"mutant of {version}, {mutate.__name__}: caught in {caught} of {tried} tables ({shown})", flush=True)
        missed += tried == 0 or caught < tried
    return missed


def who_notices(table, state, spark):
    """Those who fail at the head, or find something else."""
    noticed = ["form"] if form(table) else []
    readers = {"PyIceberg": PyIceberg(table), "DuckDB": DuckDb(table)} | ({"Spark": spark.table(table)} if spark else {})
    for engine, reader in readers.items():
        try:
            is_other = multiset(reader.rows(state["columns"])) != multiset(state["rows"])
        except Exception:
            is_other = True
        if is_other:
            noticed.append(engine)
    return noticed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("warehouse", type=pathlib.Path)
    parser.add_argument("--spark", metavar="RUNTIME_JAR")
    parser.add_argument("--mutants", action="store_true")
    arguments = parser.parse_args()
    warehouse = arguments.warehouse.absolute()
    all_expected = json.loads((warehouse / "expected.json").read_text())
    spark = Spark(warehouse, arguments.spark) if arguments.spark else None
    wrong = compare(warehouse, all_expected, spark)
    compared = sum(1 + len(expected["snapshots"]) for expected in all_expected.values())
    print(f"{len(all_expected)} tables, {compared} states, {wrong} cells differ")
    if arguments.mutants:
        wrong += mutants(warehouse, all_expected, spark)
    if spark:
        spark.stop()
    sys.exit(min(wrong, 100))


if __name__ == "__main__":
    main()
