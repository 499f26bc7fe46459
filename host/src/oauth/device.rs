//! The device flow (RFC 8628): the user enters a code in a browser anywhere, the host asks the
//! token endpoint until that has happened.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use crate::transport::Origin;

/// What the device authorization endpoint answered.
pub(crate) struct DeviceCode {
    /// What the token endpoint is asked with.
    pub(crate) device_code: SecretString,
    /// What the user enters.
    pub(crate) user_code: String,
    /// Where the user enters it.
    pub(crate) verification_uri: String,
    /// The same with the code in it, if the vendor gives one.
    pub(crate) verification_uri_complete: Option<String>,
    /// How long it is good for.
    pub(crate) expires_in: Duration,
    /// How long to wait between two questions.
    pub(crate) interval: Duration,
}

/// Why the device flow ends without tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The vendor's first answer cannot be used.
    #[error("the device code of the vendor cannot be used: {problem}")]
    Answer {
        /// What is wrong.
        problem: &'static str,
    },
    /// The user said no.
    #[error("the login was denied in the browser")]
    Denied,
    /// Nobody entered the code in time.
    #[error("the code expired before it was entered")]
    Expired,
}

impl DeviceError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Answer { .. } => "try again, or log in without `--device`".into(),
            Self::Denied => "log in again and agree to the access".into(),
            Self::Expired => "log in again; the new code is good for some minutes".into(),
        }
    }
}

/// What one question at the token endpoint showed.
pub(crate) enum Polled<T, E> {
    /// The tokens.
    Done(T),
    /// The user has not entered the code yet.
    Pending,
    /// So, and the vendor is asked too often.
    SlowDown,
    /// The user said no.
    Denied,
    /// The code is no longer good.
    Expired,
    /// Nobody answered; worth another try.
    Unreachable,
    /// Something else; it will not get better.
    Failed(E),
}

impl DeviceCode {
    /// Reads the answer of the device authorization endpoint.
    pub(crate) fn read(body: &Value) -> Result<Self, DeviceError> {
        let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|t| !t.is_empty());
        let answer = |problem| DeviceError::Answer { problem };
        let uri = |uri: &str| {
            let safe = Origin::parse(uri).is_ok_and(|origin| !origin.is_exposed());
            safe && Url::parse(uri).is_ok()
        };
        let device_code = text("device_code").ok_or(answer("it has no `device_code`"))?;
        let user_code = text("user_code").ok_or(answer("it has no `user_code`"))?;
        // Some vendors wrote the draft's name for years.
        let verification_uri = text("verification_uri").or_else(|| text("verification_url"));
        let verification_uri = verification_uri
            .filter(|found| uri(found))
            .ok_or(answer("its `verification_uri` is no safe address"))?;
        let complete = text("verification_uri_complete").filter(|found| uri(found));
        let seconds = |name: &str| body.get(name).and_then(seconds);
        let expires_in = seconds("expires_in").unwrap_or(DEFAULT_EXPIRY).min(MAX_EXPIRY);
        let interval = seconds("interval").unwrap_or(DEFAULT_INTERVAL);
        Ok(Self {
            device_code: device_code.into(),
            user_code: user_code.to_owned(),
            verification_uri: verification_uri.to_owned(),
            verification_uri_complete: complete.map(str::to_owned),
            expires_in,
            interval: interval.clamp(MIN_INTERVAL, MAX_INTERVAL),
        })
    }
}

/// Reads seconds, also from vendors that write them as text.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    Some(Duration::from_secs(seconds))
}

/// Asks with `ask` until there is an answer, in the rhythm that the vendor wants. `pause` waits until
/// a time, or ends it; a question that was sent is never dropped.
pub(crate) async fn poll<T, E: From<DeviceError>>(
    interval: Duration,
    expires_in: Duration,
    pause: impl AsyncFn(Instant) -> Result<(), E>,
    mut ask: impl AsyncFnMut() -> Polled<T, E>,
) -> Result<T, E> {
    let end = Instant::now() + expires_in;
    let mut interval = interval;
    let mut wait = interval;
    loop {
        let next = Instant::now() + wait;
        pause(next.min(end)).await?;
        if next > end {
            return Err(DeviceError::Expired.into());
        }
        wait = match ask().await {
            Polled::Done(tokens) => return Ok(tokens),
            Polled::Failed(error) => return Err(error),
            Polled::Denied => return Err(DeviceError::Denied.into()),
            Polled::Expired => return Err(DeviceError::Expired.into()),
            Polled::Pending => interval,
            Polled::SlowDown => {
                interval += SLOWER;
                interval
            }
            // Not forever longer: the network may be back soon.
            Polled::Unreachable => (wait * 2).min(MAX_INTERVAL.max(interval)),
        };
    }
}

const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
const MIN_INTERVAL: Duration = Duration::from_secs(1);
const MAX_INTERVAL: Duration = Duration::from_secs(60);
const SLOWER: Duration = Duration::from_secs(5);
const DEFAULT_EXPIRY: Duration = Duration::from_secs(15 * 60);
const MAX_EXPIRY: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::VecDeque};

    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq)]
    enum Problem {
        Device(DeviceError),
        Other,
    }

    impl From<DeviceError> for Problem {
        fn from(error: DeviceError) -> Self {
            Self::Device(error)
        }
    }

    /// Polls by a script and returns the result and the seconds at which was asked.
    async fn run(
        expires_in: u64,
        script: Vec<Polled<u8, Problem>>,
    ) -> (Result<u8, Problem>, Vec<u64>) {
        let start = Instant::now();
        let asked = RefCell::new(Vec::new());
        let script = RefCell::new(VecDeque::from(script));
        let pause = async |until| {
            tokio::time::sleep_until(until).await;
            Ok(())
        };
        let ask = async || {
            asked.borrow_mut().push(start.elapsed().as_secs());
            script.borrow_mut().pop_front().unwrap_or(Polled::Pending)
        };
        let expires_in = Duration::from_secs(expires_in);
        let result = poll(Duration::from_secs(5), expires_in, pause, ask).await;
        (result, asked.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn the_vendor_is_asked_in_its_own_rhythm() {
        use Polled::{Done, Pending, SlowDown, Unreachable};
        let (result, asked) =
            run(900, vec![Pending, SlowDown, Pending, SlowDown, Pending, Done(1)]).await;
        assert_eq!(result, Ok(1));
        // Each `slow_down` adds five seconds for good.
        assert_eq!(asked, [5, 10, 20, 30, 45, 60]);
        let (result, asked) =
            run(900, vec![Unreachable, Unreachable, Unreachable, Pending, Done(2)]).await;
        assert_eq!(result, Ok(2));
        assert_eq!(asked, [5, 15, 35, 75, 80]);
    }

    #[tokio::test(start_paused = true)]
    async fn denied_expired_and_broken_codes_end_it() {
        let device = |error| Err(Problem::Device(error));
        let (result, asked) = run(900, vec![Polled::Pending, Polled::Denied]).await;
        assert_eq!((result, asked.len()), (device(DeviceError::Denied), 2));
        let (result, _) = run(900, vec![Polled::Expired]).await;
        assert_eq!(result, device(DeviceError::Expired));
        let (result, asked) = run(12, Vec::new()).await;
        assert_eq!((result, asked), (device(DeviceError::Expired), vec![5, 10]));
        let (result, _) = run(900, vec![Polled::Failed(Problem::Other)]).await;
        assert_eq!(result, Err(Problem::Other));
    }

    #[test]
    fn the_first_answer_is_read_also_when_it_is_sloppy() {
        let code = DeviceCode::read(&json!({
            "device_code": "dc", "user_code": "WDJB-MJHT", "expires_in": "900", "interval": 0,
            "verification_uri": "https://a.test/device",
            "verification_uri_complete": "http://10.0.0.1/evil",
        }))
        .map_err(|error| error.to_string())
        .unwrap();
        assert_eq!(code.interval, Duration::from_secs(1));
        assert_eq!(code.expires_in, Duration::from_secs(900));
        assert_eq!(code.verification_uri_complete, None);
        for (body, problem) in [
            (json!({}), "it has no `device_code`"),
            (json!({ "device_code": "d" }), "it has no `user_code`"),
            (
                json!({ "device_code": "d", "user_code": "u", "verification_uri": "http://b.test" }),
                "its `verification_uri` is no safe address",
            ),
        ] {
            let error = DeviceCode::read(&body).map(drop).unwrap_err();
            assert_eq!(error, DeviceError::Answer { problem });
        }
    }
}
