//! Models: the platform's list, and the other shape that a ChatGPT plan's token gets.

use dialects::openai_chat::models;
use plugin_api::{operation::Models, prelude::*};
use serde_json::Value;

use crate::{accepted, login, settings};

/// Opens the exchange that lists all models.
pub(crate) fn list(instance: &Instance) -> Opened {
    let request = HttpRequest::get(instance.url("/models"));
    Ok(kit::call(settings::decorate(instance, request), |response| {
        accepted(&response)?;
        let models = models::decode(&response.body)?.into_iter().map(dated).collect();
        Ok(Reply::Models(Models::new(models)))
    }))
}

/// Opens the exchange that describes one model.
///
/// A plan's token has the list alone, so there the model is looked up in it.
pub(crate) fn describe(instance: &Instance, request: DescribeModel) -> Opened {
    let plan = login::is_plan(instance);
    let url = if plan {
        instance.url("/models")
    } else {
        instance.url_of(&["models", request.model.as_str()])?
    };
    let http = settings::decorate(instance, HttpRequest::get(url));
    Ok(kit::call(http, move |response| {
        accepted(&response)?;
        let found = if plan {
            let listed = models::decode(&response.body)?;
            listed.into_iter().find(|model| model.id == request.model)
        } else {
            Some(models::decode_one(&response.body)?)
        };
        let Some(model) = found else {
            let id = request.model.as_str().escape_debug();
            let message = format!("the plan lists no model `{id}`");
            return Err(ProviderError::new(ErrorKind::NotFound, message));
        };
        Ok(Reply::Model(Box::new(dated(model))))
    }))
}

/// Notes when OpenAI means to end a model.
fn dated(mut model: Model) -> Model {
    model.deprecated = model.details.remove("shutdown_date").map(|date| match date {
        Value::String(date) => date,
        date => date.to_string(),
    });
    model
}
