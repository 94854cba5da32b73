//! Many tables of one source: looking whether they have something new takes one request for all of them, and none spoils it for the others.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use model::{ChangeSource, Cut, Look, Position, RunReport, TableName};
use orchestrator::{Route, TableSync};
use sqlserver_client::{Connection, Encrypt, Isolation};
use sqlserver_source::SqlServerSource;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::columns::MODES;
use crate::follow::{AfterCycle, Counted, requests};
use crate::world::{SHOP, World, capture_id, run_of};

const TABLES: usize = 20;

/// So many looks in a row are at all of them.
const TOGETHER: u64 = 20;

fn table(number: usize) -> TableName {
    TableName::new("dbo", format!("T{number:02}"))
}

/// Tables of three rows, followed in this mode, and their source.
async fn shop((capture, setup): (&str, &str), record: &Path) -> (World, Arc<dyn ChangeSource>) {
    let world = World::recorded(Some(record.to_owned())).await;
    world.emulator.clock().freeze();
    let (of_database, of_table) = setup.split_once(';').unwrap_or_default();
    world.sql(of_database);
    for number in 0..TABLES {
        let name = format!("T{number:02}");
        world.sql(&format!(
            "CREATE TABLE dbo.{name} (id int IDENTITY(1,1) PRIMARY KEY, name nvarchar(40) NULL,
                updated_at datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME(), rv rowversion)"
        ));
        world.sql(&of_table.replace("Orders", &name));
        insert(&world, number);
    }
    pass(&world);
    let tables = (0..TABLES).map(|number| {
        let capture = capture.replace("Orders", &format!("T{number:02}"));
        (table(number), serde_json::from_str(&capture).unwrap())
    });
    let source = SqlServerSource::new(world.connect_options(SHOP), tables);
    (world, Arc::new(source))
}

fn insert(world: &World, number: usize) {
    world.sql(&format!(
        "INSERT INTO {} (name) VALUES (N'a'), (N'b'), (N'c')",
        table(number)
    ));
}

/// Lets time pass and the capture come to what was written.
fn pass(world: &World) {
    world.emulator.clock().step_ms(5_000);
    world.sql("IF EXISTS (SELECT 1 FROM sys.databases WHERE database_id = DB_ID() AND is_cdc_enabled = 1) EXEC sys.sp_cdc_scan");
}

fn routes(world: &World, source: &Arc<dyn ChangeSource>) -> Vec<Route> {
    let sink = Arc::new(world.iceberg_sink());
    let route = |number| {
        let ends = (
            (source.clone(), table(number)),
            (sink.clone() as _, table(number)),
        );
        let sync = TableSync::new(capture_id(&table(number)), "source → iceberg", ends.0, ends.1);
        Route::new(vec![sync])
    };
    (0..TABLES).map(route).collect()
}

/// The pauses between looks.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(200));

#[tokio::test]
async fn looks_at_many_quiet_tables_are_one_request() {
    for mode in MODES {
        let record = TempDir::new().unwrap();
        let (world, source) = shop(mode, record.path()).await;
        let quiet = AfterCycle(|_: &RunReport| {});
        // What the window of the first increments reads again is behind it then.
        for _ in 0..2 {
            let run = run_of(routes(&world, &source));
            world.runner().run(&run, &CancellationToken::new()).await;
            pass(&world);
        }
        let cancel = CancellationToken::new();
        let (first, last) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (ended, from, to, path) = (
            cancel.clone(),
            first.clone(),
            last.clone(),
            record.path().to_owned(),
        );
        let in_a_row = AtomicU64::new(0);
        let counted = Counted::new(source, move |look, tables| {
            assert!(look < 2_000, "the tables are not looked at together");
            let so_far = match tables.len() {
                TABLES => in_a_row.fetch_add(1, Ordering::SeqCst) + 1,
                _ => {
                    in_a_row.store(0, Ordering::SeqCst);
                    0
                }
            };
            match so_far {
                1 => from.store(requests(&path), Ordering::SeqCst),
                TOGETHER => {
                    to.store(requests(&path), Ordering::SeqCst);
                    ended.cancel();
                }
                _ => {}
            }
        });
        let routes = routes(&world, &(Arc::new(counted) as _));
        world.follow(routes, PAUSES, &quiet, &cancel).await;
        let sent = last.load(Ordering::SeqCst) - first.load(Ordering::SeqCst);
        assert_eq!(
            sent,
            TOGETHER - 1,
            "{}: a request for each look at {TABLES} tables",
            mode.0
        );
    }
}

/// Up to where each table is complete, before anybody has changed it.
async fn positions(source: &dyn ChangeSource) -> Vec<(TableName, Position)> {
    let mut positions = Vec::new();
    for number in 0..TABLES {
        source.describe(&table(number)).await.unwrap();
        let cut = source.cut(&table(number), None).await.unwrap();
        let Cut::Complete { upto, .. } = cut else {
            panic!("{cut:?}");
        };
        positions.push((table(number), upto));
    }
    positions
}

#[tokio::test]
async fn a_table_that_changed_or_is_gone_spoils_no_other_ones_look() {
    for mode in MODES {
        let record = TempDir::new().unwrap();
        let (world, source) = shop(mode, record.path()).await;
        let positions = positions(&*source).await;
        pass(&world);
        let looks = source.may_have_changed(&positions).await.unwrap();
        assert_eq!(looks, vec![Look::Quiet; TABLES], "{}", mode.0);

        insert(&world, 5);
        pass(&world);
        let gone = world.sql("SELECT OBJECT_ID(N'dbo.T09')")[0].rows[0][0].as_integer();
        let changes = format!("sync_changes_{}", gone.unwrap());
        world.sql(&format!("DROP TABLE dbo.T09; DROP TABLE IF EXISTS dbo.{changes}"));
        let before = requests(record.path());
        let looks = source.may_have_changed(&positions).await.unwrap();
        assert_eq!(requests(record.path()) - before, 1, "{}", mode.0);
        for (number, look) in looks.iter().enumerate() {
            match (number, look) {
                (5, Look::Perhaps) => {}
                (9, Look::Failed { why }) => {
                    assert!(why.contains("T09") || why.contains(&changes), "{}: {why}", mode.0);
                }
                (5 | 9, _) => panic!("{}: {number} {look:?}", mode.0),
                (_, look) => assert_eq!(*look, Look::Quiet, "{}: {number}", mode.0),
            }
        }
    }
}

/// Where readers wait for writers, a look does not.
#[tokio::test]
async fn a_table_that_is_locked_may_have_changed() {
    let record = TempDir::new().unwrap();
    let (world, source) = shop(MODES[1], record.path()).await;
    world
        .emulator
        .execute(
            "master",
            &format!("ALTER DATABASE {SHOP} SET ALLOW_SNAPSHOT_ISOLATION OFF"),
        )
        .unwrap();
    let positions = positions(&*source).await;
    let mut writer = Connection::open(&world.connect_options(SHOP)).await.unwrap();
    writer.begin(Isolation::ReadCommitted).await.unwrap();
    let locked = "SELECT COUNT(*) AS n FROM dbo.T07 WITH (TABLOCKX, HOLDLOCK)";
    writer.query(locked, &[]).await.unwrap();
    let looks = source.may_have_changed(&positions).await.unwrap();
    writer.rollback().await.unwrap();
    for (number, look) in looks.iter().enumerate() {
        let expected = if number == 7 { Look::Perhaps } else { Look::Quiet };
        assert_eq!(*look, expected, "{number}");
    }
}

/// Who asks about the first of these tables gets no answer, and who asks about the second loses the connection.
#[derive(Default)]
struct Culprits(OnceLock<(String, String)>);

impl Culprits {
    /// Stands between a client and a server.
    async fn relay(self: Arc<Self>, server: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server).await.unwrap();
                tokio::spawn(self.clone().serve(client, server));
            }
        });
        address
    }

    async fn serve(self: Arc<Self>, client: TcpStream, server: TcpStream) {
        let (mut asking, mut answered) = client.into_split();
        let (mut answering, mut asked) = server.into_split();
        let answers = tokio::spawn(async move { tokio::io::copy(&mut answering, &mut answered).await });
        let mut sent = Vec::new();
        let mut part = vec![0; 1 << 16];
        while let Ok(size @ 1..) = asking.read(&mut part).await {
            sent.extend_from_slice(&part[..size]);
            if let Some((slow, fatal)) = self.0.get() {
                let names = |table: &String| {
                    let wide: Vec<u8> = table.encode_utf16().flat_map(u16::to_le_bytes).collect();
                    sent.windows(wide.len()).any(|window| window == wide)
                };
                if names(slow) {
                    continue;
                }
                if names(fatal) {
                    break;
                }
            }
            if asked.write_all(&part[..size]).await.is_err() {
                break;
            }
            let kept = sent.len().saturating_sub(64);
            sent.drain(..kept);
        }
        answers.abort();
    }
}

#[tokio::test]
async fn tables_that_make_questions_fail_are_soon_asked_about_alone() {
    const ASKED: usize = 8;
    let record = TempDir::new().unwrap();
    let (world, _) = shop(MODES[1], record.path()).await;
    let culprits = Arc::new(Culprits::default());
    let mut options = world.connect_options(SHOP);
    options.encrypt = Encrypt::Optional;
    // A name in a question is not cut in two.
    options.packet_size = 32_767;
    options.host = "127.0.0.1".into();
    options.port = culprits.clone().relay(world.emulator.address()).await.port();
    let tables = (0..TABLES).map(|number| (table(number), world.capture.clone()));
    let source = SqlServerSource::new(options, tables);
    let mut positions = positions(&source).await;
    positions.truncate(ASKED);
    pass(&world);
    let looks = source.may_have_changed(&positions).await.unwrap();
    assert_eq!(looks, vec![Look::Quiet; ASKED]);

    let names = ("[T02]".to_owned(), "[T05]".to_owned());
    culprits.0.set(names).unwrap();
    // All of them, halves, quarters, one by one; then the culprits are left alone.
    for quiet in [vec![], vec![], vec![0, 1, 6, 7], vec![0, 1, 3, 4, 6, 7]] {
        let looks = source.may_have_changed(&positions).await.unwrap();
        for (number, look) in looks.iter().enumerate() {
            let expected = if quiet.contains(&number) {
                Look::Quiet
            } else {
                Look::Perhaps
            };
            assert_eq!(*look, expected, "{number} of {looks:?}");
        }
    }
    let before = requests(record.path());
    let looks = source.may_have_changed(&positions).await.unwrap();
    for (number, look) in looks.iter().enumerate() {
        let expected = if matches!(number, 2 | 5) {
            Look::Perhaps
        } else {
            Look::Quiet
        };
        assert_eq!(*look, expected, "{number}");
    }
    assert_eq!(
        requests(record.path()) - before,
        1,
        "the others go together again"
    );
}
