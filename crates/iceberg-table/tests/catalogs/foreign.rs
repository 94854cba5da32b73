//! Programs that we did not write, as the other clients of a catalog.

use std::process::Command;

use iceberg_table::live_files;

use crate::place::{Place, new_table};
use crate::writer::{Writer, assert_files};

/// We write, they read all and write, we read and write again. `catalog` tells the script which catalog it is.
pub(crate) async fn read_and_write(place: &dyn Place, catalog: &[&str]) {
    let name = new_table(place).await;
    let writer = Writer::new(place.catalog(), &name, "ours");
    let mut ours = Vec::new();
    for _ in 0..3 {
        let commit = writer.one_row(&writer.load().await).await;
        ours.push(writer.send_until_known(&commit).await);
    }
    run("append", catalog, &[name.schema(), name.name(), "3"]);
    let table = writer.load().await;
    let live = live_files(&table, table.head().unwrap()).await.unwrap();
    let mut all: Vec<String> = live.iter().map(|file| file.path.to_string()).collect();
    let rows: u64 = live.iter().map(|file| file.data_file.record_count()).sum();
    assert_eq!(rows, 5, "three of ours and two of theirs");
    assert!(ours.iter().all(|path| all.contains(path)), "{all:?}");

    let commit = writer.one_row(&table).await;
    all.push(writer.send_until_known(&commit).await);
    assert_files(place.catalog().as_ref(), &name, &all).await;
    run("count", catalog, &[name.schema(), name.name(), "6"]);
}

fn run(command: &str, catalog: &[&str], arguments: &[&str]) {
    let python =
        std::env::var("READERS_PYTHON").expect("READERS_PYTHON is a Python with PyIceberg and DuckDB");
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/catalogs/other_client.py"
    );
    let status = Command::new(python)
        .arg(script)
        .arg(command)
        .args(catalog)
        .args(arguments)
        .status()
        .unwrap();
    assert!(status.success(), "{command} ended with {status}");
}
