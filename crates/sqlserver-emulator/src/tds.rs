//! The server side of TDS 7.4 (MS-TDS): framing, PRELOGIN and TLS, LOGIN7, tokens, values, requests.
//!
//! Knows nothing of SQL; [`crate::session::Session`] does. What arrives is outside input: every decoder reads with checked
//! access and ends in a [`reader::WireError`], never in a panic.

mod bulk;
mod connection;
mod link;
mod login;
mod packet;
mod prelogin;
mod reader;
mod record;
mod request;
mod response;
mod rpc;
mod session_thread;
mod table_value;
mod tls;
mod token;
mod transaction;
mod transport;
mod type_info;
mod value_decode;
mod value_encode;
mod variant;

pub(crate) use connection::{Server, serve};
pub(crate) use link::Link;
pub(crate) use record::Recorder;
pub(crate) use tls::TlsIdentity;
pub(crate) use type_info::{Layout, layout};
pub(crate) use value_decode::scalar;
pub(crate) use value_encode::Encoder;
pub(crate) use variant::{decode_kept as decode_variant, encode as encode_variant};
