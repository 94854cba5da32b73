"""Sums of what a contestant wrote: sums.py iceberg|parquet|text:K,A,T PATH KEY AMOUNT TEXT, as JSON. Reads in batches."""

import decimal
import json
import pathlib
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset


def iceberg_files(root):
    """The data files of the newest snapshot of the one table below a directory, as PyIceberg plans them."""
    from pyiceberg.table import StaticTable

    newest = max(pathlib.Path(root).rglob("*.metadata.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    tasks = list(StaticTable.from_metadata(str(newest)).scan().plan_files())
    if any(task.delete_files for task in tasks):
        sys.exit("a copy into a new table has deletes")
    return [task.file.file_path.removeprefix("file://") for task in tasks]


def batches(kind, path, columns):
    if kind in ("iceberg", "parquet"):
        files = [str(file) for file in pathlib.Path(path).rglob("*.parquet")] if kind == "parquet" else iceberg_files(path)
        dataset = pyarrow.dataset.dataset(files)
        # Some tools write names their own way: OrderId becomes order_id.
        plain = {name.replace("_", "").lower(): name for name in dataset.schema.names}
        yield from dataset.to_batches(columns=[plain[name.replace("_", "").lower()] for name in columns])
    else:
        places = [int(place) for place in kind.removeprefix("text:").split(",")]
        parse = pyarrow.csv.ParseOptions(delimiter="\x01", quote_char=False)
        with open(path, "rb") as file:
            width = len(file.readline().split(b"\x01"))
        names = [f"f{place}" for place in range(width)]
        picked = [names[place] for place in places]
        types = dict(zip(picked, [pa.int64(), pa.decimal128(18, 2), pa.string()]))
        read = pyarrow.csv.ReadOptions(column_names=names)
        convert = pyarrow.csv.ConvertOptions(column_types=types, include_columns=picked, strings_can_be_null=True, null_values=[""])
        for batch in pyarrow.csv.open_csv(path, read, parse, convert):
            yield batch.rename_columns(columns)


def main():
    kind, path, *columns = sys.argv[1:]
    rows, key, amount, text = 0, 0, decimal.Decimal(0), 0
    for batch in batches(kind, path, columns):
        rows += batch.num_rows
        key += pc.sum(batch.column(0)).as_py() or 0
        # Some tools turn decimals into floats; hundredths are exact enough to be rounded back.
        hundredths = pc.round(batch.column(1), 2)
        amount += decimal.Decimal(str(pc.sum(hundredths.cast(pa.decimal128(38, 2))).as_py() or 0))
        text += pc.sum(pc.utf8_length(batch.column(2))).as_py() or 0
    print(json.dumps({"rows": rows, "key": int(key), "amount": int(amount * 100), "text": text}))


main()
