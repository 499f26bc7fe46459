//! A browser that a test plays: it keeps cookies, follows redirects and submits forms.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use url::{Url, form_urlencoded};

use crate::upstream::PATIENCE;

/// Cookies, and what is typed into forms.
#[derive(Default)]
pub(crate) struct Browser {
    cookies: BTreeMap<String, BTreeMap<String, String>>,
}

/// What a server showed.
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Browser {
    /// Opens a URL and does what its pages ask for, logging in as `login`, until there is nothing
    /// more to do.
    pub(crate) fn log_in(&mut self, url: &str, login: &str) -> Page {
        let (mut url, mut form) = (Url::parse(url).unwrap(), None);
        for _ in 0..20 {
            let page = self.ask(&url, form.take().as_deref());
            if let Some(location) = page.header("location") {
                url = url.join(location).unwrap();
            } else if let Some((action, fields)) = form_of(&page.body, login) {
                url = url.join(&action).unwrap();
                form = Some(fields);
            } else {
                return page;
            }
        }
        panic!("the login goes round in circles at {url}");
    }

    /// Opens a URL.
    pub(crate) fn get(&mut self, url: &str) -> Page {
        self.ask(&Url::parse(url).unwrap(), None)
    }

    /// Submits a form.
    pub(crate) fn post(&mut self, url: &str, form: &str) -> Page {
        self.ask(&Url::parse(url).unwrap(), Some(form))
    }

    fn ask(&mut self, url: &Url, form: Option<&str>) -> Page {
        let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let jar = self.cookies.entry(host.clone()).or_default();
        let cookies: Vec<String> =
            jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let method = if form.is_some() { "POST" } else { "GET" };
        let body = form.unwrap_or_default();
        let request = format!(
            "{method} {target} HTTP/1.0\r\nhost: {host}\r\ncookie: {}\r\nconnection: close\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
            cookies.join("; "),
            body.len(),
        );
        let mut stream = TcpStream::connect(host.replace("localhost", "127.0.0.1")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let page = Page {
            status: head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0),
            head: head.to_owned(),
            body: body.to_owned(),
        };
        for line in head.lines().filter(|line| line.to_ascii_lowercase().starts_with("set-cookie:"))
        {
            let pair = line[11..].split(';').next().unwrap_or_default().trim();
            if let Some((name, value)) = pair.split_once('=') {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
        page
    }
}

impl Page {
    /// Returns a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Reads the first form of a page that is to be submitted, and fills it in.
fn form_of(body: &str, login: &str) -> Option<(String, String)> {
    let form = tags(body, "form").find(|tag| attribute(tag, "action").is_some())?;
    let action = attribute(form, "action")?.replace("&amp;", "&");
    let inside = body.split_once(form)?.1.split("</form>").next()?;
    let mut fields = form_urlencoded::Serializer::new(String::new());
    for tag in tags(inside, "input") {
        let Some(name) = attribute(tag, "name") else { continue };
        let value = match name {
            "login" => login,
            "password" => "secret",
            _ => attribute(tag, "value").unwrap_or_default(),
        };
        fields.append_pair(name, value);
    }
    Some((action, fields.finish()))
}

fn tags<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let open = format!("<{name} ");
    let starts: Vec<usize> = text.match_indices(&open).map(|(at, _)| at).collect();
    starts.into_iter().filter_map(move |at| text[at..].split_inclusive('>').next())
}

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    tag.split_once(&format!(" {name}=\""))?.1.split('"').next()
}
