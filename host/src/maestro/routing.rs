//! Which models a client's name for one stands for.

use super::{
    Error, Maestro, SessionOf,
    route::{MayAsk, Stop, Via, Wish},
};
use crate::{
    router::{Alias, ModelRef},
    suggest::{ranked, several},
};

impl Maestro {
    /// Finds what a model name of a client stands for: the refs to try, in order.
    ///
    /// An alias, a ref, else a bare name: of the providers that list it, one that speaks the wish's
    /// dialect itself, or the only one. A bare name that nobody lists goes to the only ready provider
    /// that speaks the dialect, since vendors serve names that they do not list.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownModel`] with the three nearest, [`Error::AmbiguousModel`],
    /// [`Error::ModelRef`].
    pub(super) async fn named(
        &self,
        name: &str,
        wish: &Wish<'_>,
    ) -> Result<(Via, Vec<ModelRef>), Error> {
        let Wish { dialect, session_of, may_ask, .. } = *wish;
        if let Some(alias) = self.config().aliases.get(name) {
            return Ok((Via::Alias, alias_targets(alias, wish)?));
        }
        if let Some((provider, _)) = name.split_once('/') {
            let provider = provider.split(':').next().unwrap_or_default();
            if self.registry().provider(provider).is_some() {
                return Ok((Via::Ref, vec![name.parse()?]));
            }
        }
        let listed = self.known_models(session_of).await.lists;
        let listing: Vec<&str> = listed
            .iter()
            .filter(|(_, models)| models.iter().any(|model| is_called(model, name)))
            .map(|(provider, _)| provider.as_str())
            .filter(|provider| may_ask(provider, name))
            .collect();
        let natives: Vec<&str> =
            listing.iter().copied().filter(|id| self.speaks(id, dialect)).collect();
        let found = match (natives.as_slice(), listing.as_slice()) {
            ([one], _) | ([], [one]) => Some(*one),
            _ => None,
        };
        if let Some(provider) = found {
            return Ok((Via::Listed, vec![format!("{provider}/{name}").parse()?]));
        }
        if !listing.is_empty() {
            let candidates = listing.iter().map(|provider| format!("{provider}/{name}")).collect();
            return Err(Error::AmbiguousModel { model: name.to_owned(), candidates });
        }
        if !name.contains('/')
            && let Some(provider) = self.only_native(dialect).await
        {
            return Ok((Via::Native, vec![format!("{provider}/{name}").parse()?]));
        }
        Err(self.unknown_model(name, session_of, may_ask).await)
    }

    /// Makes the error for a model that nobody serves, with the three nearest of those that may be
    /// asked.
    pub async fn unknown_model(
        &self,
        name: &str,
        session_of: SessionOf<'_>,
        may_ask: MayAsk<'_>,
    ) -> Error {
        let listed = self.known_models(session_of).await.lists;
        let refs = listed.iter().flat_map(|(provider, models)| {
            let allowed =
                models.iter().filter(|model| may_ask(provider.as_str(), model.id.as_str()));
            allowed.map(move |model| format!("{provider}/{}", model.id))
        });
        let config = self.config();
        let allowed = |alias: &&Alias| {
            alias.targets().any(|target| {
                let target = target.parse::<ModelRef>();
                target.is_ok_and(|target| may_ask(target.provider.as_str(), target.model.as_str()))
            })
        };
        let aliases = config.aliases.iter().filter(|(_, alias)| allowed(alias));
        let known: Vec<String> = aliases.map(|(name, _)| name.clone()).chain(refs).collect();
        let mut nearest: Vec<String> = several(name, known.iter().map(String::as_str), NEAREST)
            .into_iter()
            .map(str::to_owned)
            .collect();
        if nearest.len() < NEAREST {
            // A bare name is nearer to a model's own name than to the whole ref.
            let own = |known: &'_ String| known.split_once('/').map(|(_, model)| model.to_owned());
            let models: Vec<String> = known.iter().filter_map(own).collect();
            let asked = name.split_once('/').map_or(name, |(_, model)| model);
            for near in several(asked, models.iter().map(String::as_str), NEAREST) {
                let whole = known.iter().find(|known| known.ends_with(&format!("/{near}")));
                if let Some(whole) = whole.filter(|whole| !nearest.contains(whole)) {
                    nearest.push(whole.clone());
                }
            }
            nearest.truncate(NEAREST);
        }
        if let Some((provider, _)) = name.split_once('/') {
            // Who names the provider is helped by whatever it has.
            let own = known
                .iter()
                .filter(|known| known.split_once('/').is_some_and(|it| it.0 == provider));
            for near in ranked(name, own.map(String::as_str)) {
                if nearest.len() < NEAREST && !nearest.iter().any(|known| known == near) {
                    nearest.push(near.to_owned());
                }
            }
        }
        Error::UnknownModel { model: name.to_owned(), nearest }
    }

    /// Reports whether all that a model name stands for speaks a dialect itself.
    pub async fn is_native(&self, name: &str, dialect: &str) -> bool {
        let wish = Wish { dialect, ..Wish::default() };
        let Ok(route) = self.route(name, &wish).await else { return false };
        let speaks = |stop: &Stop| self.speaks(stop.model.provider.as_str(), dialect);
        route.stops.iter().all(speaks)
    }

    /// Reports whether a provider speaks a dialect itself.
    fn speaks(&self, provider: &str, dialect: &str) -> bool {
        let registry = self.registry();
        let provider = registry.provider(provider);
        provider.is_some_and(|provider| provider.manifest.dialects.iter().any(|d| d == dialect))
    }

    /// Returns the dialects that a provider understands.
    #[must_use]
    pub fn dialects_of(&self, provider: &str) -> Vec<String> {
        let registry = self.registry();
        registry.provider(provider).map(|provider| provider.dialects()).unwrap_or_default()
    }

    async fn only_native(&self, dialect: &str) -> Option<String> {
        // A server on this machine that nobody configured counts for nothing here: it may not run.
        let ready = self
            .list_providers()
            .await
            .into_iter()
            .filter(|provider| provider.ready && (provider.configured || !provider.local));
        let mut natives = ready.filter(|provider| self.speaks(provider.id.as_str(), dialect));
        match (natives.next(), natives.next()) {
            (Some(one), None) => Some(one.id.to_string()),
            _ => None,
        }
    }
}

fn is_called(model: &plugin_api::operation::Model, name: &str) -> bool {
    model.id == *name || model.aliases.iter().any(|alias| alias == name)
}

fn alias_targets(alias: &Alias, wish: &Wish<'_>) -> Result<Vec<ModelRef>, Error> {
    let order = match &wish.affinity {
        Some(affinity) => alias.order(affinity.draw()),
        None => alias.order(|below| getrandom::u64().unwrap_or_default() % below.max(1)),
    };
    order.into_iter().map(|target| Ok(target.parse()?)).collect()
}

/// How many names are suggested.
const NEAREST: usize = 3;
