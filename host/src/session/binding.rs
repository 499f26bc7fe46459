//! What a credential is bound to: the plugin and the origins that were shown at login.
//!
//! The binding lies inside the sealed envelope, next to the secret. A plugin file that claims the
//! same provider, or a manifest that names more origins, therefore gets nothing until the user has
//! seen the [`BindingChange`] and approved it.

use plugin_api::PluginId;
use url::Url;

/// A plugin and the origins a credential may be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    plugin: PluginId,
    /// Sorted, without duplicates, in the form `Url` writes them.
    origins: Vec<String>,
}

/// A text that is not an origin such as `https://api.openai.com`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid origin `{}`: expected a scheme and a host, such as `https://api.example.com`",
    .found.escape_debug())]
#[non_exhaustive]
pub struct InvalidOrigin {
    /// The refused text.
    pub found: String,
}

/// How a binding would change, for the user to approve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingChange {
    /// The plugin before and after, if it is another one.
    pub plugin: Option<(PluginId, PluginId)>,
    /// Origins that would newly receive the credential.
    pub added: Vec<String>,
    /// Origins that no longer would.
    pub removed: Vec<String>,
}

impl Binding {
    /// Binds to a plugin and origins; order and spelling (case, default ports) do not matter.
    ///
    /// # Errors
    ///
    /// [`InvalidOrigin`] for a text that is not `http` or `https` with a host, or that has a path,
    /// a query, a fragment or a user: a longer text looks narrower than what it would allow.
    pub fn new(
        plugin: PluginId,
        origins: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, InvalidOrigin> {
        let mut origins: Vec<String> =
            origins.into_iter().map(|text| normalized(text.as_ref())).collect::<Result<_, _>>()?;
        origins.sort_unstable();
        origins.dedup();
        Ok(Self { plugin, origins })
    }

    /// Binds to nothing: the credential goes nowhere until its session is approved.
    ///
    /// For logins whose maker recorded no binding.
    #[must_use]
    pub fn unbound() -> Self {
        let plugin = PluginId::new(UNBOUND).unwrap_or_else(|_| unreachable!("a valid id"));
        Self { plugin, origins: Vec::new() }
    }

    /// Reports whether it binds to nothing.
    #[must_use]
    pub fn is_unbound(&self) -> bool {
        self.plugin.as_str() == UNBOUND && self.origins.is_empty()
    }

    /// Returns the plugin.
    #[must_use]
    pub fn plugin(&self) -> &PluginId {
        &self.plugin
    }

    /// Returns the origins, sorted.
    #[must_use]
    pub fn origins(&self) -> &[String] {
        &self.origins
    }

    /// Reports whether `plugin` may have the credential sent to `url`.
    #[must_use]
    pub fn allows(&self, plugin: &PluginId, url: &Url) -> bool {
        *plugin == self.plugin && self.origins.iter().any(|origin| is_origin_of(origin, url))
    }

    /// Returns what a new binding would change, or `None` when it asks for nothing more.
    ///
    /// Fewer origins alone are no reason to ask: what was approved covers them.
    #[must_use]
    pub fn change_to(&self, new: &Self) -> Option<BindingChange> {
        let without = |all: &[String], known: &[String]| -> Vec<String> {
            all.iter().filter(|origin| !known.contains(origin)).cloned().collect()
        };
        let plugin = (self.plugin != new.plugin).then(|| (self.plugin.clone(), new.plugin.clone()));
        let added = without(&new.origins, &self.origins);
        let removed = without(&self.origins, &new.origins);
        (plugin.is_some() || !added.is_empty()).then_some(BindingChange { plugin, added, removed })
    }
}

/// Stands where a plugin's id would. A plugin of that id gains nothing: there is no origin.
pub(crate) const UNBOUND: &str = "unbound";

/// Reports whether this is the origin of a URL, as `Url` writes it.
fn is_origin_of(origin: &str, url: &Url) -> bool {
    let host = || {
        let host = origin.strip_prefix(url.scheme())?.strip_prefix("://")?;
        host.strip_prefix(url.host_str()?)
    };
    match (host(), url.port()) {
        (Some(port), Some(own)) => {
            port.strip_prefix(':').and_then(|it| it.parse().ok()) == Some(own)
        }
        (Some(port), None) => port.is_empty(),
        (None, _) => false,
    }
}

fn normalized(text: &str) -> Result<String, InvalidOrigin> {
    let invalid = || InvalidOrigin { found: text.to_owned() };
    let url = Url::parse(text).map_err(|_| invalid())?;
    let bare = matches!(url.scheme(), "http" | "https")
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if bare { Ok(url.origin().ascii_serialization()) } else { Err(invalid()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(id: &str) -> PluginId {
        PluginId::new(id).unwrap()
    }

    fn binding(origins: &[&str]) -> Binding {
        Binding::new(plugin("acme"), origins).unwrap()
    }

    #[test]
    fn spelling_and_order_do_not_matter() {
        let one = binding(&["https://B.example:443", "http://a.example:80/"]);
        let two = binding(&["http://a.example", "https://b.example", "https://b.example/"]);
        assert_eq!(one, two);
        assert_eq!(one.origins(), ["http://a.example", "https://b.example"]);
        assert_eq!(one.plugin(), &plugin("acme"));
    }

    #[test]
    fn only_bare_web_origins_are_accepted() {
        for bad in [
            "",
            "api.example.com",
            "ftp://example.com",
            "data:text/plain,x",
            "https://example.com/v1",
            "https://example.com?x",
            "https://example.com#x",
            "https://user@example.com",
            "https://:pass@example.com",
        ] {
            let error = Binding::new(plugin("acme"), [bad]).unwrap_err();
            assert_eq!(error.found, bad);
            assert!(error.to_string().starts_with("invalid origin `"));
        }
    }

    #[test]
    fn only_the_bound_plugin_and_origins_are_allowed() {
        let bound = binding(&["https://api.example.com"]);
        let url = |text: &str| Url::parse(text).unwrap();
        assert!(bound.allows(&plugin("acme"), &url("https://api.example.com/v1/chat?x=1")));
        assert!(!bound.allows(&plugin("evil"), &url("https://api.example.com/v1")));
        for elsewhere in [
            "http://api.example.com/",
            "https://api.example.com:8443/",
            "https://api.example.com.evil.example/",
            "https://api.example.com@evil.example/",
            "data:,x",
        ] {
            assert!(!bound.allows(&plugin("acme"), &url(elsewhere)), "{elsewhere}");
        }
    }

    #[test]
    fn an_unbound_credential_goes_nowhere_and_needs_approval() {
        let unbound = Binding::unbound();
        assert!(unbound.is_unbound());
        assert!(!unbound.allows(&plugin("acme"), &Url::parse("https://api.example.com").unwrap()));
        let bound = binding(&["https://a.example"]);
        assert!(!bound.is_unbound());
        let change = unbound.change_to(&bound).unwrap();
        assert_eq!(change.added, ["https://a.example"]);
        // Even a plugin of that very id has to ask.
        let same_id = Binding::new(plugin("unbound"), ["https://a.example"]).unwrap();
        assert!(unbound.change_to(&same_id).is_some() && !same_id.is_unbound());
    }

    #[test]
    fn wider_bindings_need_approval_and_narrower_ones_do_not() {
        let bound = binding(&["https://a.example", "https://b.example"]);
        assert_eq!(bound.change_to(&bound), None);
        assert_eq!(bound.change_to(&binding(&["https://a.example"])), None);
        let change = bound.change_to(&binding(&["https://a.example", "https://c.example"]));
        let change = change.unwrap();
        assert_eq!(change.added, ["https://c.example"]);
        assert_eq!(change.removed, ["https://b.example"]);
        assert_eq!(change.plugin, None);
        let taken = Binding::new(plugin("evil"), ["https://a.example"]).unwrap();
        let change = bound.change_to(&taken).unwrap();
        assert_eq!(change.plugin, Some((plugin("acme"), plugin("evil"))));
    }
}
