//! `-f FILE`: files that go along with a prompt.

use std::{fs::File, io::Read, path::Path};

use anyhow::Context;
use plugin_api::chat::{Content, ContentPart, DataSource, Media};

use crate::cli::failure::Failure;

/// Reads a file as a part of a message: text is fenced and named, media go as they are.
///
/// What it is, its first bytes say; where they say nothing, its name does.
pub(super) fn attach(path: &Path) -> Result<ContentPart, Failure> {
    let what = || format!("failed to read `{}`", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(what)?;
    file.take(MAX_LEN + 1).read_to_end(&mut bytes).with_context(what)?;
    if bytes.len() as u64 > MAX_LEN {
        return Err(Failure::request(
            format!("`{}` is larger than {} MB", path.display(), MAX_LEN / 1_000_000),
            "attach a smaller file",
        ));
    }
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    part(&name, bytes)
}

fn part(name: &str, bytes: Vec<u8>) -> Result<ContentPart, Failure> {
    if let Some(media_type) = by_content(&bytes) {
        return Ok(media(name, media_type, bytes));
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(ContentPart::text(fenced(name, &text))),
        Ok(text) => binary(name, text.into_bytes()),
        Err(error) => binary(name, error.into_bytes()),
    }
}

/// Judges bytes that are neither text nor of a known form by the name of their file.
fn binary(name: &str, bytes: Vec<u8>) -> Result<ContentPart, Failure> {
    match by_name(name) {
        Some(media_type) => Ok(media(name, media_type, bytes)),
        None => Err(Failure::usage(
            format!("`{name}` is neither text nor an image, a sound or a document known here"),
            "convert it to text (UTF-8), PNG, PDF or WAV first",
        )),
    }
}

fn media(name: &str, media_type: &str, data: Vec<u8>) -> ContentPart {
    let media = Media::new(DataSource::Inline { data }).media_type(media_type);
    match media_type.split('/').next() {
        Some("image") => Content::Image(media),
        Some("audio") => Content::Audio(media),
        // No vendor takes the name of an image or a sound; each would only be warned about.
        _ => Content::File(media.name(name)),
    }
    .into()
}

/// Puts a text between fences that are longer than any fence inside it.
fn fenced(name: &str, text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest.max(2) + 1);
    let language = Path::new(name).extension().and_then(|e| e.to_str()).unwrap_or_default();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    format!("{name}:\n{fence}{language}\n{text}{end}{fence}\n\n")
}

fn by_content(bytes: &[u8]) -> Option<&'static str> {
    let at = |start: usize, text: &[u8]| bytes.get(start..).is_some_and(|b| b.starts_with(text));
    let riff = at(0, b"RIFF");
    Some(match () {
        () if at(0, b"\x89PNG\r\n\x1a\n") => "image/png",
        () if at(0, b"\xff\xd8\xff") => "image/jpeg",
        () if at(0, b"GIF87a") || at(0, b"GIF89a") => "image/gif",
        () if riff && at(8, b"WEBP") => "image/webp",
        () if at(4, b"ftypheic") || at(4, b"ftypmif1") => "image/heic",
        () if at(4, b"ftypavif") => "image/avif",
        () if at(0, b"%PDF-") => "application/pdf",
        () if riff && at(8, b"WAVE") => "audio/wav",
        () if at(0, b"ID3") => "audio/mpeg",
        () if at(0, b"OggS") => "audio/ogg",
        () if at(0, b"fLaC") => "audio/flac",
        () if at(4, b"ftypM4A") => "audio/mp4",
        () if at(0, b"FORM") && at(8, b"AIFF") => "audio/aiff",
        // An MPEG or ADTS frame has no more than eleven set bits to know it by; no text has them.
        () if at(0, b"\xff\xfb") || at(0, b"\xff\xf3") || at(0, b"\xff\xf2") => "audio/mpeg",
        () if at(0, b"\xff\xf1") || at(0, b"\xff\xf9") => "audio/aac",
        () => return None,
    })
}

fn by_name(name: &str) -> Option<&'static str> {
    let extension = Path::new(name).extension()?.to_str()?.to_ascii_lowercase();
    BY_EXTENSION.iter().find(|(known, _)| *known == extension).map(|(_, media_type)| *media_type)
}

const BY_EXTENSION: [(&str, &str); 16] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("bmp", "image/bmp"),
    ("tiff", "image/tiff"),
    ("pdf", "application/pdf"),
    ("wav", "audio/wav"),
    ("mp3", "audio/mpeg"),
    ("m4a", "audio/mp4"),
    ("ogg", "audio/ogg"),
    ("flac", "audio/flac"),
    ("webm", "audio/webm"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
];

/// More than any vendor takes in one request.
const MAX_LEN: u64 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn media_type(name: &str, bytes: &[u8]) -> Option<String> {
        match part(name, bytes.to_vec()).unwrap().content {
            Content::Image(media) | Content::Audio(media) => {
                assert_eq!(media.name, None);
                media.media_type
            }
            Content::File(media) => {
                assert_eq!(media.name.as_deref(), Some(name));
                media.media_type
            }
            _ => None,
        }
    }

    #[test]
    fn text_is_fenced_and_named() {
        let part = part("a.rs", b"fn main() {}".to_vec()).unwrap();
        assert_eq!(part, ContentPart::text("a.rs:\n```rs\nfn main() {}\n```\n\n"));
        assert!(fenced("x", "a ```` b\n").starts_with("x:\n`````\n"));
        assert_eq!(media_type("notes.pdf", b"only text"), None);
    }

    #[test]
    fn bytes_say_what_they_are_whatever_the_name() {
        assert_eq!(media_type("x.txt", b"\x89PNG\r\n\x1a\n0").as_deref(), Some("image/png"));
        assert_eq!(media_type("x", b"%PDF-1.7").as_deref(), Some("application/pdf"));
        assert_eq!(media_type("x", b"RIFF\0\0\0\0WAVEfmt ").as_deref(), Some("audio/wav"));
        assert_eq!(media_type("x", b"RIFF\0\0\0\0WEBPVP8 ").as_deref(), Some("image/webp"));
        assert_eq!(media_type("x", b"\xff\xfb\x90").as_deref(), Some("audio/mpeg"));
    }

    #[test]
    fn the_name_decides_where_bytes_do_not() {
        assert_eq!(media_type("a.BMP", b"BM\0\xff").as_deref(), Some("image/bmp"));
        let failure = part("a.bin", vec![0, 255]).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.to_string().starts_with("`a.bin` is neither"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let failure = attach(Path::new("/nowhere/x")).unwrap_err();
        assert_eq!(failure.to_string(), "failed to read `/nowhere/x`");
    }
}
