//! Sounds as both formats of OpenAI write them: `input_audio`.

use std::borrow::Cow;

use plugin_api::chat::{Content, DataSource, Media};
use serde::Deserialize;

use crate::base64;

/// A client's `input_audio`.
#[derive(Deserialize)]
pub(crate) struct InputAudio<'a> {
    #[serde(borrow)]
    data: Cow<'a, str>,
    format: String,
}

impl InputAudio<'_> {
    /// Reads the sound, or names the field at fault and what is wrong with it.
    pub(crate) fn content(&self) -> Result<Content, (&'static str, &'static str)> {
        let data = base64::decode(&self.data).ok_or(("input_audio.data", "is not Base64"))?;
        let media_type = match &*self.format {
            "mp3" => "audio/mpeg".to_owned(),
            format => format!("audio/{format}"),
        };
        Ok(Content::Audio(Media::new(DataSource::Inline { data }).media_type(media_type)))
    }
}

/// Returns the format's name for a media type; a sound without one is taken for a wave.
///
/// # Errors
///
/// What is wrong with a type that is no sound's.
pub(crate) fn format(media_type: Option<&str>) -> Result<&str, &'static str> {
    match media_type {
        None | Some("audio/wav" | "audio/x-wav" | "audio/wave") => Ok("wav"),
        Some("audio/mpeg" | "audio/mp3") => Ok("mp3"),
        Some(other) => other.strip_prefix("audio/").ok_or("is of a type that is no sound's"),
    }
}
