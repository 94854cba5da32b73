//! Types that Arrow lacks, from the source to the target, in every mode of capture.

use model::{RunStatus, TableName};
use sqlserver_emulator::Value;

use crate::columns::MODES;
use crate::world::World;

const POINT: &str = "00000000010C00000000000008400000000000001040";

async fn follows(world: &World, table: &TableName, what: &str) {
    world.emulator.clock().step_ms(5_000);
    let report = world.run(world.plain_route(table)).await;
    assert_eq!(
        report.metadata.status,
        RunStatus::Succeeded,
        "{what}: {:#?}",
        report.errors
    );
    let report = world.verify(table).await;
    assert!(report.all_match(), "{what}: {report:#?}");
}

#[tokio::test]
async fn they_come_back_as_themselves_in_every_mode() {
    let table = TableName::new("dbo", "Orders");
    for (capture, setup) in MODES {
        let mut world = World::start().await;
        world.emulator.clock().freeze();
        world.capture = serde_json::from_str(capture).unwrap();
        world.sql(
            "CREATE TABLE dbo.Orders (id int IDENTITY(1,1) PRIMARY KEY, v sql_variant NULL, h hierarchyid NULL, g geometry NULL,
                w geography NULL, j json NULL, e vector(2) NULL, updated_at datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME(), rv rowversion)",
        );
        world.sql(setup);
        world.sql(&format!(
            "INSERT INTO dbo.Orders (v, h, g, w, j, e) VALUES
                (CAST('a' AS varchar(9)), 0x58, 0x{POINT}, 0xE6100000{}, N'{{\"a\": 1}}', N'[0.1, 1.00000012]'),
                (CAST(1.50 AS decimal(9,2)), 0x, NULL, NULL, N'[]', N'[-1e-30,0]'), (NULL, NULL, NULL, NULL, NULL, NULL)",
            &POINT[8..]
        ));
        follows(&world, &table, capture).await;
        world.sql(
            "INSERT INTO dbo.Orders (v, h, j) VALUES (CAST('2026-01-01T12:00:00.1234567+14:00' AS datetimeoffset(7)), 0x5AD6, N'[2]'),
                (CAST('a' AS varchar(7)), NULL, NULL)",
        );
        // A growing id tells of no update.
        if !capture.contains(r#""column":"id""#) {
            world.sql(
                "UPDATE dbo.Orders SET v = CAST('a' AS varchar(8)), j = N'{\"a\":2}', e = N'[0.1, 1]', updated_at = SYSUTCDATETIME() WHERE id = 1",
            );
        }
        follows(&world, &table, capture).await;

        let types = world.mirror(
            "SELECT t.name FROM sys.columns AS c INNER JOIN sys.types AS t ON t.user_type_id = c.user_type_id
             WHERE c.object_id = OBJECT_ID(N'dbo.Orders') AND c.column_id BETWEEN 2 AND 7 ORDER BY c.column_id",
        );
        let types: Vec<_> = types[0].rows.iter().map(|row| row[0].as_text()).collect();
        let declared = [
            "sql_variant",
            "hierarchyid",
            "geometry",
            "geography",
            "json",
            "vector",
        ];
        assert_eq!(types, declared.map(|ty| Some(ty.to_owned())), "{capture}");
        // Only varchar(7) is text of seven bytes at most.
        let variants = "SELECT id FROM dbo.Orders WHERE SQL_VARIANT_PROPERTY(v, 'MaxLength') = 7 AND SQL_VARIANT_PROPERTY(v, 'BaseType') = N'varchar'";
        assert_eq!(world.mirror(variants)[0].rows[0][0], Value::Int(5), "{capture}");
    }
}
