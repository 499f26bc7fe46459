//! Logging in with what the vendor's own tool keeps: says where that is and where its token may go,
//! and stores the place.

use super::LoginArgs;
use crate::{
    cli::{
        Outcome,
        failure::Failure,
        output::{Document, Output},
    },
    maestro::Maestro,
    session::SessionName,
};

/// Stores where the profile is, as a session.
pub(super) async fn run(
    args: &LoginArgs,
    profile: &str,
    name: SessionName,
    maestro: &Maestro,
    output: &Output,
) -> Outcome {
    let profiles = maestro.profiles(&args.provider)?;
    let Some(found) = profiles.iter().find(|known| known.profile == profile) else {
        let known: Vec<_> = profiles.iter().map(|p| format!("`{}`", p.profile)).collect();
        return Err(Failure::usage(
            format!("provider `{}` has no profile `{profile}`", args.provider),
            match known.is_empty() {
                true => "log in with the vendor's own tool first".to_owned(),
                false => format!("there is: {}", known.join(", ")),
            },
        ));
    };
    let info = maestro.provider_capabilities(&args.provider).await?;
    output.note(&format!(
        "the token stays in `{}`, which `{}` keeps",
        found.path.display(),
        found.tool
    ));
    output.note(&format!(
        "plugin `{}` will use it; it can be sent to: {}",
        info.plugin,
        info.origins.join(", ")
    ));
    let session = maestro.link_profile(&args.provider, profile, name).await?;
    if output.is_json() {
        return output.document(&Document::new().with("session", &session));
    }
    output.line(&format!("stored session {}", session.selector))
}
