"""Reads tables with engines that are not ours, at every retained snapshot, and compares them with what a model says.

    interop.py WAREHOUSE [--spark RUNTIME_JAR] [--mutants]

WAREHOUSE/expected.json names the tables of the namespace `interop`: {table: {"head": STATE, "snapshots": {id: STATE}, "data_files": n,
"delete_files": n}}, and a STATE is {"columns": [name, ...], "rows": [row, ...]} with values as `compare_table.py` has them. A matrix is
printed; the exit code is the number of cells that differ.

With --mutants, tables are damaged in ways that a writer could get wrong (a wrong sequence number, positions out of order, no
referenced data file, positions off by one), and each damage must be noticed by an engine or by the checks of form.
"""

import argparse
import collections
import json
import pathlib
import shutil
import sys

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

from compare_table import DuckDb, PyIceberg, difference, multiset, newest_metadata


class Spark:
    """One warm session for all tables."""

    def __init__(self, warehouse, runtime, cores="1"):
        from pyspark.sql import SparkSession

        settings = {
            "spark.jars": runtime,
            "spark.ui.enabled": "false",
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

    def count(self, metadata_table, where="true"):
        query = f"SELECT count(*) FROM {self.name}.{metadata_table} WHERE {where}"
        return self.session.sql(query).collect()[0][0]


class Snapshot:
    """The files of a table's head, read as plain Avro."""

    def __init__(self, table):
        self.metadata = json.loads(newest_metadata(table).read_text())
        current = self.metadata.get("current-snapshot-id")
        found = [snapshot for snapshot in self.metadata.get("snapshots", []) if snapshot["snapshot-id"] == current]
        self.list = local(found[0]["manifest-list"]) if found else None
        self.manifests = records(self.list) if found else []

    def deletes(self):
        """The manifest and the entry of each live delete file."""
        for manifest in self.manifests:
            if manifest["content"] == 1:
                for entry in records(local(manifest["manifest_path"])):
                    if entry["status"] != 2:
                        yield manifest, entry


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
    for _, entry in snapshot.deletes():
        file = entry["data_file"]
        referenced = file["referenced_data_file"]
        if not referenced:
            problems.append(f"{file['file_path']} does not say whose rows it deletes")
        elif file["file_format"].lower() == "puffin":
            vectors[referenced] += 1
            blob = local(file["file_path"]).read_bytes()[file["content_offset"] :][: file["content_size_in_bytes"]]
            if blob[4:8] != bytes.fromhex("d1d33964"):
                problems.append(f"{file['file_path']} has no vector at {file['content_offset']}")
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
    count = 0
    for where, snapshot, state in states(expected):
        try:
            found = reader.rows(state["columns"], snapshot)
        except Exception as error:
            print(f"{engine}, {where}: {type(error).__name__}: {str(error).splitlines()[0]}")
            count += 1
            continue
        count += difference(engine, where, found, state["rows"])
    return count


def compare(warehouse, all_expected, spark):
    """Prints the matrix; how many cells differ."""
    engines = ["form", "PyIceberg", "DuckDB"] + (["Spark", ".files", ".position_deletes"] if spark else [])
    print(f"{'table':<20} {'snapshots':>9} {'deletes':>7}  " + "  ".join(engines))
    wrong = 0
    for name, expected in all_expected.items():
        table = warehouse / "interop" / name
        results = [form(table), differences("PyIceberg", PyIceberg(table), expected)]
        results.append(differences("DuckDB", DuckDb(table), expected))
        if spark:
            reader = spark.table(table)
            results.append(differences("Spark", reader, expected))
            files = reader.count("files", "content = 0"), reader.count("files", "content > 0")
            results.append(files != (expected["data_files"], expected["delete_files"]))
            results.append(reader.count("position_deletes") < expected["delete_files"])
        cells = ["ok" if not result else f"WRONG ({result})" for result in results]
        wrong += sum(1 for result in results if result)
        shown = "  ".join(cell.ljust(len(engine)) for cell, engine in zip(cells, engines))
        print(f"{name:<20} {len(expected['snapshots']):>9} {expected['delete_files']:>7}  {shown}", flush=True)
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


def without_referenced_data_file(snapshot):
    def change(entry):
        entry["data_file"]["referenced_data_file"] = None
        return True

    manifests = {manifest["manifest_path"] for manifest, _ in snapshot.deletes()}
    return any([edit_avro(local(path), change) for path in manifests])


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


def mutants(warehouse, all_expected):
    """Damages copies of tables of format v2; how many damages went unnoticed."""
    missed = 0
    for mutate in (wrong_sequence_number, unsorted_positions, without_referenced_data_file, off_by_one):
        tried = caught = 0
        for name, expected in all_expected.items():
            if not name.startswith("v2") or not expected["delete_files"]:
                continue
            table = warehouse / "interop" / name
            kept = warehouse / "interop" / f"{name}.kept"
            shutil.copytree(table, kept)
            try:
                if not mutate(Snapshot(table)):
                    continue
                tried += 1
                head = {"head": expected["head"], "snapshots": {}}
                caught += bool(form(table) or quiet(head, table))
            finally:
                shutil.rmtree(table)
                kept.rename(table)
        print(f"mutant {mutate.__name__}: caught in {caught} of {tried} tables")
        missed += tried == 0 or caught < tried
    return missed


def quiet(expected, table):
    """Whether PyIceberg or DuckDB finds something else at the head, without printing what."""
    state = expected["head"]
    for reader in (PyIceberg(table), DuckDb(table)):
        try:
            found = reader.rows(state["columns"])
        except Exception:
            return True
        if multiset(found) != multiset(state["rows"]):
            return True
    return False


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
    if spark:
        spark.stop()
    compared = sum(1 + len(expected["snapshots"]) for expected in all_expected.values())
    print(f"{len(all_expected)} tables, {compared} states, {wrong} cells differ")
    if arguments.mutants:
        wrong += mutants(warehouse, all_expected)
    sys.exit(min(wrong, 100))


if __name__ == "__main__":
    main()
