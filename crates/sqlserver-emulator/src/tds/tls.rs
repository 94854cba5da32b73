//! The server's certificate, made at start, and the TLS settings that every known client accepts.

use std::net::IpAddr;

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    AlpnError, SslAcceptor, SslMethod, SslOptions, SslSessionCacheMode, SslVersion, select_next_proto,
};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name};

const VALID_DAYS: u32 = 3650;
/// The protocol name of TDS 8.0, in ALPN's length-prefixed form.
const ALPN_TDS8: &[u8] = b"\x07tds/8.0";

/// A certificate authority of its own and a server certificate that it signed.
pub(crate) struct TlsIdentity {
    pub(crate) acceptor: SslAcceptor,
    pub(crate) ca_pem: String,
    pub(crate) certificate_pem: String,
}

impl TlsIdentity {
    /// Makes both; the certificate is good for `host_names`, which may be DNS names or IP addresses.
    pub(crate) fn generate(host_names: &[String]) -> Result<Self, ErrorStack> {
        let ca_key = new_key()?;
        let ca = authority(&ca_key)?;
        let key = new_key()?;
        let certificate = server_certificate(&ca, &ca_key, &key, host_names)?;
        Ok(Self {
            acceptor: acceptor(&ca, &certificate, &key)?,
            ca_pem: String::from_utf8_lossy(&ca.to_pem()?).into_owned(),
            certificate_pem: String::from_utf8_lossy(&certificate.to_pem()?).into_owned(),
        })
    }
}

fn new_key() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

fn name(common_name: &str) -> Result<X509Name, ErrorStack> {
    let mut name = X509Name::builder()?;
    name.append_entry_by_nid(Nid::COMMONNAME, common_name)?;
    Ok(name.build())
}

fn certificate(
    subject: &X509Name,
    issuer: &X509Name,
    key: &PKey<Private>,
) -> Result<X509Builder, ErrorStack> {
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(serial.to_asn1_integer()?.as_ref())?;
    builder.set_subject_name(subject)?;
    builder.set_issuer_name(issuer)?;
    builder.set_pubkey(key)?;
    builder.set_not_before(Asn1Time::from_unix(1_577_836_800)?.as_ref())?;
    builder.set_not_after(Asn1Time::days_from_now(VALID_DAYS)?.as_ref())?;
    Ok(builder)
}

fn authority(key: &PKey<Private>) -> Result<X509, ErrorStack> {
    let subject = name("sqlserver-emulator CA")?;
    let mut builder = certificate(&subject, &subject, key)?;
    builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
    builder.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build()?)?;
    let identifier = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
    builder.append_extension(identifier)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

fn server_certificate(
    ca: &X509,
    ca_key: &PKey<Private>,
    key: &PKey<Private>,
    host_names: &[String],
) -> Result<X509, ErrorStack> {
    let subject = name(host_names.first().map_or("sqlserver-emulator", String::as_str))?;
    let issuer = name("sqlserver-emulator CA")?;
    let mut builder = certificate(&subject, &issuer, key)?;
    builder.append_extension(BasicConstraints::new().critical().build()?)?;
    builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
    builder.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
    let authority = AuthorityKeyIdentifier::new()
        .keyid(true)
        .build(&builder.x509v3_context(Some(ca), None))?;
    builder.append_extension(authority)?;
    if !host_names.is_empty() {
        let mut names = SubjectAlternativeName::new();
        for host in host_names {
            match host.parse::<IpAddr>() {
                Ok(_) => names.ip(host),
                Err(_) => names.dns(host),
            };
        }
        let names = names.build(&builder.x509v3_context(Some(ca), None))?;
        builder.append_extension(names)?;
    }
    builder.sign(ca_key, MessageDigest::sha256())?;
    Ok(builder.build())
}

/// TLS 1.2 only: 1.3 inside PRELOGIN packets hangs FreeTDS, ODBC and JDBC; session tickets upset tiberius and mssql-tds.
fn acceptor(ca: &X509, certificate: &X509, key: &PKey<Private>) -> Result<SslAcceptor, ErrorStack> {
    let mut builder = SslAcceptor::mozilla_intermediate(SslMethod::tls_server())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_max_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_options(SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION);
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_certificate(certificate)?;
    builder.set_private_key(key)?;
    builder.add_extra_chain_cert(ca.clone())?;
    builder.check_private_key()?;
    builder
        .set_alpn_select_callback(|_, offered| select_next_proto(ALPN_TDS8, offered).ok_or(AlpnError::NOACK));
    Ok(builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_names_its_hosts_and_is_signed_by_the_authority() {
        let identity = TlsIdentity::generate(&["db.example".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let ca = X509::from_pem(identity.ca_pem.as_bytes()).unwrap();
        let certificate = identity.acceptor.context().certificate().unwrap();
        assert!(certificate.verify(&ca.public_key().unwrap()).unwrap());
        let names = certificate.subject_alt_names().unwrap();
        assert_eq!(names[0].dnsname(), Some("db.example"));
        assert_eq!(names[1].ipaddress(), Some(&[127, 0, 0, 1][..]));
    }
}
