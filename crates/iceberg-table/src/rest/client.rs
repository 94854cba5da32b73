//! Requests to the service, and what their answers mean.

use std::sync::Arc;
use std::time::Duration;

use model::{Clock, Error, ErrorKind, Result};
use reqwest::{Client, Method, Request, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use super::auth::{Auth, extra_headers};
use super::options::RestOptions;
use super::protocol::{Refusal, RefusalDetail, ServerConfig};
use crate::storage::Storage;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A commit that has not been answered by then is in doubt.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Between the levels of a namespace in a URL, unless the service says otherwise.
const LEVELS: &str = "\u{1f}";

/// How a request ended.
#[derive(Debug)]
pub(super) enum Answer<T> {
    /// As it should.
    Good(T),
    /// The service did not do it.
    Refused(StatusCode, RefusalDetail),
    /// The service may have done it, or may still do it.
    Lost(String),
}

/// A service.
#[derive(Debug)]
pub(super) struct Service {
    http: Client,
    base: Url,
    warehouse: Option<String>,
    auth: Auth,
    config: OnceCell<Config>,
}

/// What the service said of itself.
#[derive(Debug)]
struct Config {
    base: Url,
    prefix: Option<String>,
    levels: String,
}

impl Service {
    pub(super) fn new(options: &RestOptions, storage: &Storage, clock: Arc<dyn Clock>) -> Result<Self> {
        options.validate()?;
        let base = url("`iceberg.rest.uri` is not a URL", &options.uri)?;
        let http = Client::builder()
            .default_headers(extra_headers(options)?)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            // A commit that is redirected would be sent again as a question, whose answer looks like success.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| {
                Error::new(ErrorKind::Config, "cannot make a client for the REST catalog").caused_by(e)
            })?;
        Ok(Self {
            auth: Auth::new(options, &base, storage, clock)?,
            http,
            base,
            warehouse: options.warehouse.clone(),
            config: OnceCell::new(),
        })
    }

    /// A URL below `v1/<prefix>`.
    pub(super) async fn url(&self, segments: &[&str]) -> Result<Url> {
        let config = self.config().await?;
        let mut start = below(&config.base, &["v1"]);
        if let Some(prefix) = &config.prefix {
            // A part of the path as the service writes it: Amazon's is percent-encoded already.
            start.set_path(&format!("{}/{prefix}", start.path()));
        }
        Ok(below(&start, segments))
    }

    /// A namespace as one segment of a URL.
    pub(super) async fn namespace(&self, name: &str) -> Result<String> {
        let config = self.config().await?;
        Ok(name.split('.').collect::<Vec<_>>().join(&config.levels))
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<Answer<T>> {
        self.send(Request::new(Method::GET, url)).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        url: Url,
        body: &impl Serialize,
    ) -> Result<Answer<T>> {
        let json = serde_json::to_vec(body)
            .map_err(|e| Error::internal("cannot write a request to the REST catalog").caused_by(e))?;
        let mut request = Request::new(Method::POST, url);
        let content_type = reqwest::header::HeaderValue::from_static("application/json");
        request
            .headers_mut()
            .insert(reqwest::header::CONTENT_TYPE, content_type);
        *request.body_mut() = Some(json.into());
        self.send(request).await
    }

    async fn config(&self) -> Result<&Config> {
        self.config
            .get_or_try_init(|| async {
                let mut url = below(&self.base, &["v1", "config"]);
                if let Some(warehouse) = &self.warehouse {
                    url.query_pairs_mut().append_pair("warehouse", warehouse);
                }
                let server: ServerConfig = match self.get(url).await? {
                    Answer::Good(config) => config,
                    bad => return Err(bad.into_error("cannot read the REST catalog's configuration")),
                };
                let get = |name: &str| server.overrides.get(name).or_else(|| server.defaults.get(name));
                let levels = get("namespace-separator").map_or(LEVELS.to_owned(), |encoded| decoded(encoded));
                Ok(Config {
                    base: match server.overrides.get("uri") {
                        Some(uri) => url_of_server(uri)?,
                        None => self.base.clone(),
                    },
                    prefix: get("prefix").cloned(),
                    levels,
                })
            })
            .await
    }

    /// Sends a request, twice if a token was refused: then nothing has been done.
    async fn send<T: DeserializeOwned>(&self, mut request: Request) -> Result<Answer<T>> {
        let again = request.try_clone();
        self.auth.sign(&self.http, &mut request).await?;
        let answer = self.send_signed(request).await?;
        let refused = matches!(&answer, Answer::Refused(status, _) if matches!(status.as_u16(), 401 | 419));
        match again {
            Some(mut again) if refused && self.auth.renew().await => {
                self.auth.sign(&self.http, &mut again).await?;
                self.send_signed(again).await
            }
            _ => Ok(answer),
        }
    }

    async fn send_signed<T: DeserializeOwned>(&self, request: Request) -> Result<Answer<T>> {
        let answer = match self.http.execute(request).await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() || error.is_builder() => {
                return Err(
                    Error::new(ErrorKind::Unavailable, "cannot connect to the REST catalog")
                        .with("cause", chain(&error))
                        .hint("check `iceberg.rest.uri`, and that the service runs"),
                );
            }
            Err(error) => return Ok(Answer::Lost(chain(&error))),
        };
        let status = answer.status();
        // The specification's 408, 500, 502, 503 and 504, and what proxies add to them.
        let is_timeout = status == StatusCode::REQUEST_TIMEOUT;
        if is_timeout || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED) {
            return Ok(Answer::Lost(format!("the service answered {status}")));
        }
        if status.is_redirection() {
            let location = answer.headers().get(reqwest::header::LOCATION);
            let location = location
                .and_then(|location| location.to_str().ok())
                .unwrap_or_default();
            return Err(Error::new(
                ErrorKind::Config,
                "the REST catalog is at another URL than the one it was asked at",
            )
            .with("location", location)
            .hint("give the URL that it redirects to as `iceberg.rest.uri`"));
        }
        let body = match answer.bytes().await {
            Ok(body) => body,
            Err(error) => return Ok(Answer::Lost(chain(&error))),
        };
        if !status.is_success() {
            let refusal: Refusal = serde_json::from_slice(&body).unwrap_or_default();
            return Ok(Answer::Refused(status, refusal.error));
        }
        Ok(match serde_json::from_slice(&body) {
            Ok(good) => Answer::Good(good),
            Err(error) => Answer::Lost(format!("the service's answer cannot be read: {error}")),
        })
    }
}

impl<T> Answer<T> {
    /// Whether the service said that this does not exist; a 404 of something that is no catalog says nothing of the kind.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused(StatusCode::NOT_FOUND, detail) if detail.r#type.starts_with("NoSuch"))
    }

    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(StatusCode::CONFLICT, _))
    }

    /// What it means to somebody who cannot go on with it.
    pub(super) fn into_error(self, tried: &'static str) -> Error {
        let (status, detail) = match self {
            Self::Good(_) => return Error::internal("a good answer was taken for a bad one"),
            Self::Lost(why) => return Error::new(ErrorKind::Unavailable, tried).with("cause", why),
            Self::Refused(status, detail) => (status, detail),
        };
        let kind = match status.as_u16() {
            401 | 403 | 419 => ErrorKind::Denied,
            404 => ErrorKind::NotFound,
            409 | 429 => ErrorKind::Transient,
            406 | 501 => ErrorKind::Unsupported,
            _ => ErrorKind::Config,
        };
        let error = Error::new(kind, tried)
            .with("status", status)
            .with("answer", detail.message);
        match kind {
            ErrorKind::Denied => {
                error.hint("check the login in `iceberg.rest`, and its rights in the catalog")
            }
            ErrorKind::NotFound => error.hint("check `iceberg.rest`: `uri` and `warehouse`"),
            _ => error,
        }
    }
}

/// A URL with segments at its end, each percent-encoded.
pub(super) fn below(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

fn url(why: &'static str, text: &str) -> Result<Url> {
    Url::parse(text)
        .ok()
        .filter(|url| !url.cannot_be_a_base())
        .ok_or_else(|| {
            Error::new(ErrorKind::Config, why)
                .with("uri", text)
                .hint("give `https://host/path`")
        })
}

fn url_of_server(text: &str) -> Result<Url> {
    url("the REST catalog names another URL, which is none", text)
}

/// The characters of `%2E` and the like.
fn decoded(encoded: &str) -> String {
    let mut url = "x:".to_owned();
    url.push_str("?v=");
    url.push_str(encoded);
    Url::parse(&url)
        .ok()
        .and_then(|url| url.query_pairs().next().map(|(_, value)| value.into_owned()))
        .unwrap_or_else(|| encoded.to_owned())
}

/// An error with its causes, which reqwest leaves out.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
