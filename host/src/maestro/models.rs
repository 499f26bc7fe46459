//! What models there are, and which one a name stands for.

use std::time::Duration;

use futures_util::future::join_all;
use plugin_api::{
    capability::Capability,
    error::ErrorKind,
    operation::{DescribeModel, ListModels, Model, Operation, Reply},
};

use super::{
    Call, Error, Maestro,
    route::{Stop, Wish},
};
use crate::{exchange::ExchangeError, router::ModelRef, suggest::several};

/// Setting of the store that holds the default model.
const DEFAULT_MODEL: &str = "default_model";

/// How long a hint may take to find.
const HINT_PATIENCE: Duration = Duration::from_secs(5);

/// How long each provider may take to list its models when all are asked at once.
const LIST_PATIENCE: Duration = Duration::from_secs(20);

/// Most pages of a list of models, against a plugin that repeats itself.
const MAX_PAGES: u32 = 1000;

/// What a provider's list says of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Listing {
    /// It is there.
    Listed,
    /// It is not.
    Missing {
        /// Refs of the nearest.
        nearest: Vec<String>,
    },
}

impl Maestro {
    /// Lists the models of a provider.
    ///
    /// # Errors
    ///
    /// What the provider says.
    pub async fn list_models(
        &self,
        provider: &str,
        session: Option<&str>,
    ) -> Result<Vec<Model>, Error> {
        let provider = &self.capable(provider, Capability::Models, "a list of models")?;
        let call = Call::with_session(session.map(str::to_owned));
        let mut request = ListModels::default();
        let mut all = Vec::new();
        for _ in 0..MAX_PAGES {
            let operation = Operation::ListModels(request.clone());
            let answered = self.run(provider, &call, operation).await?;
            let Reply::Models(page) = answered.value else { break };
            all.extend(page.models);
            if page.next.is_none() {
                break;
            }
            request.page = page.next;
        }
        Ok(all)
    }

    /// Describes one model; from the provider's list where it has no better answer.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownModel`], with the nearest.
    pub async fn model_info(&self, model: &ModelRef, call: Call) -> Result<Model, Error> {
        let provider = &self.capable(model.provider.as_str(), Capability::Models, "models")?;
        let call = call.for_model(model);
        let operation = Operation::DescribeModel(DescribeModel::new(model.model.clone()));
        match self.run(provider, &call, operation).await.map(|answered| answered.value) {
            Ok(Reply::Model(found)) => return Ok(*found),
            Err(Error::Exchange(error)) if not_supported(&error) => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        let models = self.list_models(provider.id.as_str(), call.session.as_deref()).await?;
        if let Some(found) = models.iter().find(|listed| listed.id == model.model) {
            return Ok(found.clone());
        }
        let nearest = near(model, &models);
        Err(Error::UnknownModel { model: model.to_string(), nearest })
    }

    /// Says whether the model's provider lists it, and which of its models are nearest if not.
    ///
    /// `None` where nobody can tell: the provider lists no models, or not now, or not soon. A model that
    /// is not listed may still answer, so this is for hints and warnings.
    pub async fn is_listed(&self, model: &ModelRef, session: Option<&str>) -> Option<Listing> {
        let call = Call::with_session(session.map(str::to_owned)).for_model(model);
        let listed = self.list_models(model.provider.as_str(), call.session.as_deref());
        let models = tokio::time::timeout(HINT_PATIENCE, listed).await.ok()?.ok()?;
        if models.is_empty() {
            return None;
        }
        Some(match models.iter().any(|listed| listed.id == model.model) {
            true => Listing::Listed,
            false => Listing::Missing { nearest: near(model, &models) },
        })
    }

    /// Reads a model ref or an alias, of which the first that can be asked now counts; a bare model name is looked for in the lists of the ready providers.
    ///
    /// # Errors
    ///
    /// [`Error::ModelRef`], [`Error::UnknownProvider`], [`Error::UnknownModel`],
    /// [`Error::AmbiguousModel`].
    pub async fn parse_model(&self, text: &str) -> Result<ModelRef, Error> {
        if self.config().aliases.contains_key(text) {
            let stops = self.route(text, &Wish::default()).await?.open()?;
            let first = stops.into_iter().next().map(|stop| stop.model);
            return first.ok_or_else(|| Error::UnknownModel {
                model: text.to_owned(),
                nearest: Vec::new(),
            });
        }
        if text.contains('/') {
            let model: ModelRef = text.parse()?;
            self.provider(model.provider.as_str())?;
            return Ok(model);
        }
        let mut listed = Vec::new();
        let ready = self.list_providers().await.into_iter().filter(|provider| provider.ready);
        let asked = ready.map(|provider| async move {
            let models = self.list_models(provider.id.as_str(), None);
            let models = tokio::time::timeout(LIST_PATIENCE, models).await;
            (provider.id, models.ok().and_then(Result::ok).unwrap_or_default())
        });
        for (provider, models) in join_all(asked).await {
            listed.extend(models.into_iter().map(|model| format!("{provider}/{}", model.id)));
        }
        let mut candidates: Vec<String> = listed
            .iter()
            .filter(|listed| listed.split_once('/').is_some_and(|(_, model)| model == text))
            .cloned()
            .collect();
        match candidates.len() {
            1 => Ok(candidates.remove(0).parse()?),
            0 => {
                let names = listed.iter().filter_map(|listed| Some(listed.split_once('/')?.1));
                let near = several(text, names, 3);
                let is_near = |listed: &&String| {
                    listed.split_once('/').is_some_and(|(_, name)| near.contains(&name))
                };
                let nearest = listed.iter().filter(is_near).take(3).cloned().collect();
                Err(Error::UnknownModel { model: text.to_owned(), nearest })
            }
            _ => Err(Error::AmbiguousModel { model: text.to_owned(), candidates }),
        }
    }

    /// Finds the places that a model name stands for, as [`route`](Self::route) does for an alias or a
    /// pool; any other name stands for one ([`parse_model`](Self::parse_model)).
    ///
    /// # Errors
    ///
    /// As those.
    pub async fn places(&self, text: &str) -> Result<Vec<Stop>, Error> {
        let is_pool = || text.parse::<ModelRef>().is_ok_and(|model| model.pool);
        if self.config().aliases.contains_key(text) || is_pool() {
            return Ok(self.route(text, &Wish::default()).await?.stops);
        }
        let model = self.parse_model(text).await?;
        Ok(vec![Stop::at(model, false)])
    }

    /// Returns the model that is asked when none is named.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn default_model(&self) -> Result<Option<ModelRef>, Error> {
        let Some(sessions) = self.existing_sessions().await? else { return Ok(None) };
        let text = sessions.blocking(|s| Ok(s.store().setting(DEFAULT_MODEL)?)).await?;
        Ok(text.map(|text| text.parse()).transpose()?)
    }

    /// Sets the model that is asked when none is named.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn set_default_model(&self, model: &ModelRef) -> Result<(), Error> {
        self.provider(model.provider.as_str())?;
        let text = model.to_string();
        let sessions = self.sessions().await?;
        Ok(sessions
            .blocking(move |s| Ok(s.store().set_setting(DEFAULT_MODEL, Some(&text))?))
            .await?)
    }
}

/// Returns the refs of the models that are nearest to one.
fn near(model: &ModelRef, models: &[Model]) -> Vec<String> {
    let ids = models.iter().map(|listed| listed.id.as_str());
    let near = several(model.model.as_str(), ids, 3).into_iter();
    near.map(|id| format!("{}/{id}", model.provider)).collect()
}

fn not_supported(error: &ExchangeError) -> bool {
    error.provider_error().is_some_and(|error| error.kind == ErrorKind::NotSupported)
}
