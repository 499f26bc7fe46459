//! One request, one typed answer.

use crate::{
    error::{ErrorKind, ProviderError},
    exchange::{Exchange, Input, Outbox, Timestamp},
    http::{Headers, HttpRequest},
    kit::failure,
    operation::Reply,
};

/// Most bytes of an answer that is read whole.
pub const MAX_BODY: usize = 32 * 1024 * 1024;

/// An answer, read whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
    /// When the last byte came.
    pub now: Timestamp,
}

impl Response {
    /// Reports whether the status is 200 to 299.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// Reads the body as JSON, leading white space allowed (DeepSeek sends blank lines first).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`], quoting what came instead.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, ProviderError> {
        serde_json::from_slice(&self.body)
            .map_err(|_| failure::malformed("JSON", &self.headers, &self.body))
    }

    /// Makes the error that only the status explains.
    #[must_use]
    pub fn failure(&self) -> ProviderError {
        failure::status(self.status, &self.headers, &self.body, self.now)
    }
}

/// Sends one request and turns the whole answer, whatever its status, into a value.
///
/// ```
/// use plugin_api::{prelude::*, kit::{self, replay::Replay}};
///
/// let exchange = kit::call(HttpRequest::get("https://api.acme.test/me"), |response| {
///     if !response.is_success() {
///         return Err(response.failure());
///     }
///     let me: serde_json::Value = response.json()?;
///     let mut account = plugin_api::operation::Account::default();
///     account.name = me["name"].as_str().map(str::to_owned);
///     Ok(Reply::Account(account))
/// });
/// let run = Replay::new(exchange).respond(401, &[], b"who are you").run();
/// assert_eq!(run.error.unwrap().kind, ErrorKind::Authentication);
/// ```
pub fn call<F>(request: HttpRequest, read: F) -> Box<dyn Exchange + Send>
where
    F: FnMut(Response) -> Result<Reply, ProviderError> + Send + 'static,
{
    Box::new(Call { request, read, whole: Gather::default() })
}

struct Call<F> {
    request: HttpRequest,
    read: F,
    whole: Gather,
}

impl<F> Exchange for Call<F>
where
    F: FnMut(Response) -> Result<Reply, ProviderError> + Send,
{
    fn step(&mut self, now: Timestamp, input: Input<'_>, out: &mut Outbox<'_>) {
        if let Input::Start { .. } = input {
            out.send(&self.request);
            return;
        }
        let value = match self.whole.take(now, &input) {
            None => return,
            Some(Ok(response)) => (self.read)(response),
            Some(Err(error)) => Err(error),
        };
        match value {
            Ok(value) => {
                out.value(&value);
                out.done();
            }
            Err(error) => out.fail(&error),
        }
    }
}

/// Gathers an answer until it is whole.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    response: Response,
}

impl Gather {
    /// Takes an input; gives the answer once it is whole, or why there is none.
    pub(crate) fn take(
        &mut self,
        now: Timestamp,
        input: &Input<'_>,
    ) -> Option<Result<Response, ProviderError>> {
        match input {
            Input::ResponseHead { status, headers, .. } => {
                self.response.status = *status;
                self.response.headers = headers.clone();
                None
            }
            Input::Body { bytes, .. } => {
                if self.response.body.len() + bytes.len() > MAX_BODY {
                    let error = format!("the answer is longer than {MAX_BODY} bytes");
                    return Some(Err(ProviderError::new(ErrorKind::Protocol, error)));
                }
                self.response.body.extend_from_slice(bytes);
                None
            }
            Input::End { .. } => {
                let mut response = std::mem::take(&mut self.response);
                response.now = now;
                Some(Ok(response))
            }
            Input::TransportFailed { kind, message, .. } => {
                Some(Err(failure::transport(*kind, message)))
            }
            Input::Cancel => Some(Err(cancelled())),
            Input::Start { .. } | Input::Tick => None,
        }
    }
}

/// Makes the error of an exchange whose client went away.
pub(crate) fn cancelled() -> ProviderError {
    ProviderError::new(ErrorKind::Cancelled, "the client went away")
}
