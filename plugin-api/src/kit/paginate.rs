//! Several pages, one typed answer.

use crate::{
    error::{ErrorKind, ProviderError},
    exchange::{Exchange, Input, Outbox, Timestamp},
    http::HttpRequest,
    kit::call::{Gather, Response},
    operation::Reply,
};

/// Most pages that are followed, against a vendor that repeats itself.
pub const MAX_PAGES: u32 = 1000;

/// What a page led to.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Page {
    /// There is another page.
    Next(Box<HttpRequest>),
    /// That was the last; this is the value of them all.
    Last(Reply),
}

/// Sends requests until a page is the last.
///
/// `read` gathers what it needs from each page and says where the next one is. Only for requests
/// that may be repeated.
pub fn paginate<F>(first: HttpRequest, read: F) -> Box<dyn Exchange + Send>
where
    F: FnMut(Response) -> Result<Page, ProviderError> + Send + 'static,
{
    Box::new(Paginate { first, read, page: Gather::default(), pages: 0 })
}

struct Paginate<F> {
    first: HttpRequest,
    read: F,
    page: Gather,
    pages: u32,
}

impl<F> Exchange for Paginate<F>
where
    F: FnMut(Response) -> Result<Page, ProviderError> + Send,
{
    fn step(&mut self, now: Timestamp, input: Input<'_>, out: &mut Outbox<'_>) {
        if let Input::Start { .. } = input {
            out.send(&self.first);
            return;
        }
        let page = match self.page.take(now, &input) {
            None => return,
            Some(Ok(response)) => (self.read)(response),
            Some(Err(error)) => Err(error),
        };
        self.pages += 1;
        match page {
            Ok(Page::Next(_)) if self.pages == MAX_PAGES => {
                let error = format!("the list did not end after {MAX_PAGES} pages");
                out.fail(&ProviderError::new(ErrorKind::Protocol, error));
            }
            Ok(Page::Next(request)) => {
                out.send(&request);
            }
            Ok(Page::Last(value)) => {
                out.value(&value);
                out.done();
            }
            Err(error) => out.fail(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kit::replay::Replay,
        operation::{Model, Reply},
    };

    fn lister() -> Box<dyn Exchange + Send> {
        let mut models = Vec::new();
        paginate(HttpRequest::get("https://a.test/models"), move |response| {
            let page: serde_json::Value = response.json()?;
            models.push(Model::new(page["id"].as_str().unwrap_or_default()));
            Ok(match page["next"].as_str() {
                Some(next) => {
                    let url = format!("https://a.test/models?page={next}");
                    Page::Next(Box::new(HttpRequest::get(url)))
                }
                None => Page::Last(Reply::models(std::mem::take(&mut models))),
            })
        })
    }

    #[test]
    fn pages_are_followed_to_the_last() {
        let run = Replay::new(lister())
            .respond(200, &[], br#"{"id":"a","next":"2"}"#)
            .respond(200, &[], br#"{"id":"b"}"#)
            .run();
        assert_eq!(run.requests[1].url, "https://a.test/models?page=2");
        let expected = vec![Model::new("a"), Model::new("b")];
        assert_eq!(run.value, Some(Reply::models(expected)));
    }

    #[test]
    fn a_list_without_an_end_is_refused() {
        let mut replay = Replay::new(lister());
        for _ in 0..MAX_PAGES {
            replay = replay.respond(200, &[], br#"{"id":"a","next":"2"}"#);
        }
        let error = replay.run().error.unwrap();
        assert_eq!(error.kind, ErrorKind::Protocol);
        assert_eq!(error.message, "the list did not end after 1000 pages");
    }
}
