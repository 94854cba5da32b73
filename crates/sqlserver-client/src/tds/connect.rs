//! From options to a logged-in client.

use mssql_tds::connection::client_context::ClientContext;
use mssql_tds::connection::tds_client::TdsClient;
use mssql_tds::connection_provider::tds_connection_provider::TdsConnectionProvider;
use mssql_tds::core::{EncryptionOptions, EncryptionSetting};
use mssql_tds::message::login_options::ApplicationIntent as TdsIntent;

use super::LinkError;
use crate::{ApplicationIntent, ConnectOptions, Encrypt};

pub(super) async fn connect(options: &ConnectOptions) -> Result<TdsClient, LinkError> {
    let address = format!("tcp:{},{}", options.host, options.port);
    let client = TdsConnectionProvider {}
        .create_client(context(options, &address), &address, None)
        .await?;
    Ok(client)
}

fn context(options: &ConnectOptions, address: &str) -> ClientContext {
    let mut context = ClientContext::with_data_source(address);
    context.user_name.clone_from(&options.user);
    context.password = options.password.reveal().to_owned();
    context.database.clone_from(&options.database);
    context.application_name.clone_from(&options.application_name);
    context.library_name = env!("CARGO_PKG_NAME").to_owned();
    context.connect_timeout = options.connect_timeout_seconds;
    context.packet_size = options.packet_size;
    // A silent reconnect would lose #temp tables, settings and the transaction.
    context.connect_retry_count = 0;
    context.application_intent = match options.application_intent {
        ApplicationIntent::ReadWrite => TdsIntent::ReadWrite,
        ApplicationIntent::ReadOnly => TdsIntent::ReadOnly,
    };
    context.encryption_options = EncryptionOptions {
        mode: match options.encrypt {
            Encrypt::Strict => EncryptionSetting::Strict,
            Encrypt::Required => EncryptionSetting::Required,
            Encrypt::Optional => EncryptionSetting::PreferOff,
        },
        trust_server_certificate: options.trust_server_certificate,
        host_name_in_cert: options.host_name_in_certificate.clone(),
        server_certificate: options.server_certificate.clone(),
    };
    context
}
