//! Types that Iceberg cannot hold without a loss.

use crate::world::{World, exit};

#[test]
fn a_loss_is_refused_with_the_lines_that_would_allow_it() {
    for (ty, value, loss) in [
        ("datetime2(7)", "'2026-11-21T12:00:00.1234567'", "datetime2_7"),
        ("time(7)", "'12:00:00.1234567'", "time_7"),
        (
            "datetimeoffset(3)",
            "'2026-11-21T12:00:00.123+02:00'",
            "datetimeoffset_offset",
        ),
    ] {
        let world = World::with(&format!(
            "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, at {ty} NULL); INSERT dbo.T VALUES (1, {value})"
        ));
        world.configure("- table: dbo.T");
        let allow = format!("capture: {{ types: {{ allow_loss: [{loss}] }} }}");
        for command in ["plan", "run"] {
            world
                .call(&[command])
                .expect(exit::FAILURE, &["\"at\"", ty, &allow]);
        }
        world.expect_nothing_done();
        world.configure(&format!("- table: dbo.T\n  {allow}"));
        world.call(&["run"]).expect(exit::SUCCESS, &[]);
        world.call(&["verify"]).expect(exit::SUCCESS, &[]);
    }
}
