//! The page that the browser shows at the end of a login.
//!
//! It is whole in itself: nothing is loaded, no script runs, and the policy in its head says so to
//! the browser. What vendors wrote is escaped.

use std::fmt::Write as _;

/// What the page says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// HTTP status.
    pub(crate) status: u16,
    /// How it went, in a few words.
    pub(crate) title: String,
    /// More about it.
    pub(crate) text: String,
}

impl Page {
    /// Says that the login is done.
    pub(crate) fn done(session: &str, account: Option<&str>) -> Self {
        let who = account.map_or_else(String::new, |account| format!(" as {account}"));
        Self {
            status: 200,
            title: "You are logged in".into(),
            text: format!(
                "Session {session} is stored{who}. You can close this page and go back to the \
                 terminal."
            ),
        }
    }

    /// Says that the login failed, and why.
    pub(crate) fn failed(why: &str) -> Self {
        Self {
            status: 400,
            title: "You are not logged in".into(),
            text: format!("{}. The terminal says what to do.", capital(why)),
        }
    }

    /// Says that this request is none of ours; the login goes on.
    pub(crate) fn refused(status: u16, why: &str) -> Self {
        Self {
            status,
            title: "This page is for a login".into(),
            text: format!("{}.", capital(why)),
        }
    }

    /// Writes the whole HTTP answer.
    pub(crate) fn http(&self, with_body: bool) -> Vec<u8> {
        let body = self.html();
        let reason = if self.status == 200 { "OK" } else { "Refused" };
        let mut answer = format!("HTTP/1.1 {} {reason}\r\n", self.status);
        for (name, value) in HEADERS {
            let _ = write!(answer, "{name}: {value}\r\n");
        }
        let _ = write!(answer, "content-length: {}\r\n\r\n", body.len());
        if with_body {
            answer.push_str(&body);
        }
        answer.into_bytes()
    }

    fn html(&self) -> String {
        let mark = if self.status == 200 { ("ok", "✓") } else { ("bad", "!") };
        let (title, text) = (escaped(&self.title), escaped(&self.text));
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title} · Maestro</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <p class=\"mark {}\" aria-hidden=\"true\">{}</p>\n<h1>{title}</h1>\n<p>{text}</p>\n\
             <footer>Maestro, on this machine</footer>\n</main>\n</body>\n</html>\n",
            mark.0, mark.1
        )
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// The address in the browser holds the code: nothing may keep it or pass it on.
const HEADERS: &[(&str, &str)] = &[
    ("content-type", "text/html; charset=utf-8"),
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
    ),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("connection", "close"),
];

const STYLE: &str = "\
:root{--ground:#f6f5f2;--card:#fff;--ink:#1d1d1b;--soft:#6b6a66;--line:#e3e1db;--ok:#1f7a4d;--bad:#a8422f}\
@media(prefers-color-scheme:dark){:root{--ground:#161615;--card:#1f1f1d;--ink:#ecebe7;--soft:#9b9a94;\
--line:#33322f;--ok:#6cc79b;--bad:#e58f7c}}\
*{box-sizing:border-box}\
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--ground);\
color:var(--ink);font:1.0625rem/1.55 system-ui,sans-serif}\
main{width:100%;max-width:30rem;padding:2.5rem;background:var(--card);border:1px solid var(--line);\
border-radius:14px}\
.mark{width:2.75rem;height:2.75rem;margin:0;display:grid;place-items:center;border-radius:50%;\
border:2px solid;font-size:1.25rem;font-weight:600;line-height:1}\
.ok{color:var(--ok)}.bad{color:var(--bad)}\
h1{margin:1.25rem 0 .5rem;font-size:1.5rem;line-height:1.25;letter-spacing:-.01em}\
p{margin:0;overflow-wrap:anywhere}\
footer{margin-top:2rem;padding-top:1rem;border-top:1px solid var(--line);color:var(--soft);\
font-size:.875rem}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_loads_nothing_and_is_kept_by_nobody() {
        let page = Page::done("acme:work@oauth", Some("ada@acme.test"));
        let answer = String::from_utf8(page.http(true)).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        for header in ["cache-control: no-store", "default-src 'none'", "no-referrer"] {
            assert!(head.contains(header), "{header}");
        }
        assert!(head.ends_with(&format!("content-length: {}", body.len())));
        for outside in ["http:", "https:", "url(", "<script", "<img", "<link"] {
            assert!(!body.contains(outside), "{outside}");
        }
        assert!(body.contains("prefers-color-scheme:dark"));
        assert!(body.contains("Session acme:work@oauth is stored as ada@acme.test."));
        assert!(page.http(false).ends_with(b"\r\n\r\n"));
    }

    #[test]
    fn what_others_wrote_is_only_text() {
        let page = Page::failed("access_denied: <script>alert('1')</script>\u{1b}[31m");
        let html = page.html();
        assert!(
            html.contains("Access_denied: &lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; [31m")
        );
        assert!(!html.contains("<script"));
    }
}
