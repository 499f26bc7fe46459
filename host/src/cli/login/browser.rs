//! Opens the user's browser, where there is one.
//!
//! The system's own opener is started directly, never through a shell, and what it says is not
//! shown: the URL stands in the terminal anyway. A crate would add a dependency for these lines.

use std::process::Stdio;

use tokio::process::Command;

/// Opens a URL; reports whether an opener could be started.
pub(super) fn open(url: &str) -> bool {
    let web = url.starts_with("https://") || url.starts_with("http://");
    web && has_display() && OPENERS.iter().any(|opener| start(opener, url))
}

fn start(opener: &str, url: &str) -> bool {
    let spawned = Command::new(opener)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match spawned {
        Ok(mut child) => {
            // Only so that it does not stay behind as a zombie.
            tokio::spawn(async move { drop(child.wait().await) });
            true
        }
        Err(_) => false,
    }
}

/// Reports whether a window could appear in front of the user.
#[cfg(not(target_os = "macos"))]
fn has_display() -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Reports whether a window could appear in front of the user: not at the other end of a wire.
#[cfg(target_os = "macos")]
fn has_display() -> bool {
    std::env::var_os("SSH_CONNECTION").is_none()
}

#[cfg(not(target_os = "macos"))]
const OPENERS: &[&str] = &["xdg-open", "wslview"];
#[cfg(target_os = "macos")]
const OPENERS: &[&str] = &["/usr/bin/open"];
