//! Who we are to the service.

use std::sync::Arc;

use model::{Clock, Error, ErrorKind, Result, Secret, Timestamp};
use object_store::aws::{AmazonS3Builder, AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpRequest, HttpRequestBody};
use reqwest::header::HeaderMap;
use reqwest::{Client, Request, Url};
use tokio::sync::Mutex;

use super::options::{OAuth2Options, RestOptions, SigV4Options};
use super::protocol::Token;
use crate::storage::Storage;

/// A token is renewed so long before it expires.
const EARLY_MS: i64 = 60_000;

#[derive(Debug)]
pub(super) enum Auth {
    Nobody,
    Token(Secret),
    OAuth2(Box<Login>),
    SigV4(SigV4Options, AwsCredentialProvider),
}

/// A login, and the token that it last got.
#[derive(Debug)]
pub(super) struct Login {
    options: OAuth2Options,
    server: Url,
    token: Mutex<Option<(Secret, Timestamp)>>,
    clock: Arc<dyn Clock>,
}

impl Auth {
    pub(super) fn new(
        options: &RestOptions,
        base: &Url,
        storage: &Storage,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        if let Some(token) = &options.token {
            return Ok(Self::Token(token.clone()));
        }
        if let Some(sigv4) = &options.sigv4 {
            return Ok(Self::SigV4(sigv4.clone(), storage.aws_credentials()?));
        }
        let Some(oauth2) = &options.oauth2 else {
            return Ok(Self::Nobody);
        };
        let server = match &oauth2.server_uri {
            Some(server) => Url::parse(server).map_err(|e| {
                Error::new(ErrorKind::Config, "`iceberg.rest.oauth2.server_uri` is not a URL").caused_by(e)
            })?,
            None => super::client::below(base, &["v1", "oauth", "tokens"]),
        };
        Ok(Self::OAuth2(Box::new(Login {
            options: oauth2.clone(),
            server,
            token: Mutex::new(None),
            clock,
        })))
    }

    /// Adds to a request what says who we are.
    pub(super) async fn sign(&self, http: &Client, request: &mut Request) -> Result<()> {
        match self {
            Self::Nobody => Ok(()),
            Self::Token(token) => bear(request, token),
            Self::OAuth2(login) => bear(request, &login.token(http).await?),
            Self::SigV4(options, credentials) => {
                let credential = credentials.get_credential().await.map_err(|e| {
                    Error::new(
                        ErrorKind::Denied,
                        "there are no credentials to sign requests with",
                    )
                    .with("cause", &e)
                    .caused_by(e)
                })?;
                let body = request
                    .body()
                    .and_then(|body| body.as_bytes())
                    .unwrap_or_default();
                let mut signed = HttpRequest::new(HttpRequestBody::from(bytes::Bytes::copy_from_slice(body)));
                *signed.method_mut() = request.method().clone();
                *signed.uri_mut() = request
                    .url()
                    .as_str()
                    .parse()
                    .map_err(|e| Error::internal("the service's URL is not one to sign").caused_by(e))?;
                AwsAuthorizer::new(&credential, &options.service, &options.region)
                    .authorize(&mut signed, None);
                request.headers_mut().extend(std::mem::take(signed.headers_mut()));
                Ok(())
            }
        }
    }

    /// Forgets a token that was refused; whether there will be another one.
    pub(super) async fn renew(&self) -> bool {
        match self {
            Self::OAuth2(login) => login.token.lock().await.take().is_some(),
            _ => false,
        }
    }
}

impl Login {
    async fn token(&self, http: &Client) -> Result<Secret> {
        let mut current = self.token.lock().await;
        let now = self.clock.now();
        if let Some((token, until)) = current.as_ref()
            && now < *until
        {
            return Ok(token.clone());
        }
        let token = self.request(http).await?;
        let until = match token.expires_in {
            Some(seconds) => Timestamp(now.0 + (i64::from(seconds) * 1000 - EARLY_MS).max(0)),
            None => Timestamp(i64::MAX),
        };
        let token = Secret::new(token.access_token);
        *current = Some((token.clone(), until));
        Ok(token)
    }

    async fn request(&self, http: &Client) -> Result<Token> {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.options.client_id),
            ("client_secret", self.options.client_secret.reveal()),
            ("scope", &self.options.scope),
        ];
        let failed = |e: reqwest::Error| {
            Error::new(
                ErrorKind::Unavailable,
                "cannot get a token from the token service",
            )
            .with("server", &self.server)
            .caused_by(e)
        };
        let answer = http
            .post(self.server.clone())
            .form(&form)
            .send()
            .await
            .map_err(failed)?;
        let status = answer.status();
        if status.is_client_error() {
            return Err(
                Error::new(ErrorKind::Denied, "the token service refused the login")
                    .with("server", &self.server)
                    .with("status", status)
                    .hint(
                        "check `iceberg.rest.oauth2`: `client_id`, `client_secret`, `scope` and `server_uri`",
                    ),
            );
        }
        answer
            .error_for_status()
            .map_err(failed)?
            .json()
            .await
            .map_err(failed)
    }
}

fn bear(request: &mut Request, token: &Secret) -> Result<()> {
    let value = reqwest::header::HeaderValue::from_str(&format!("Bearer {}", token.reveal()));
    let mut value =
        value.map_err(|_| Error::new(ErrorKind::Config, "the token has characters that no header takes"))?;
    value.set_sensitive(true);
    request
        .headers_mut()
        .insert(reqwest::header::AUTHORIZATION, value);
    Ok(())
}

/// The headers that the configuration adds.
pub(super) fn extra_headers(options: &RestOptions) -> Result<HeaderMap> {
    use reqwest::header::{HeaderName, HeaderValue};
    let mut headers = HeaderMap::new();
    for (name, value) in &options.headers {
        let header = HeaderName::from_bytes(name.as_bytes())
            .ok()
            .zip(HeaderValue::from_str(value.reveal()).ok());
        let (name, mut value) = header.ok_or_else(|| {
            Error::new(ErrorKind::Config, "`iceberg.rest.headers`: this is not a header").with("name", name)
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    if options.vended_credentials {
        headers.insert(
            "x-iceberg-access-delegation",
            HeaderValue::from_static("vended-credentials"),
        );
    }
    Ok(headers)
}

impl Storage {
    /// The credentials for Amazon's services that are configured, or that the environment has.
    fn aws_credentials(&self) -> Result<AwsCredentialProvider> {
        let builder = self
            .s3()
            .map_or_else(AmazonS3Builder::from_env, |s3| s3.builder());
        let store = builder.with_bucket_name("credentials").build().map_err(|e| {
            Error::new(
                ErrorKind::Config,
                "there are no credentials for Amazon's services",
            )
            .with("cause", &e)
            .caused_by(e)
        })?;
        Ok(store.credentials().clone())
    }
}
