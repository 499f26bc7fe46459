//! What is asked of a person at a terminal: a confirmation, a secret.

use std::io::{self, BufRead, IsTerminal};

use anyhow::Context;
use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::cli::{failure::Failure, output::Output, visible};

/// Reports whether somebody is there to answer.
pub(super) fn is_possible(output: &Output) -> bool {
    io::stdin().is_terminal() && output.stderr_is_terminal()
}

/// Asks whether to do something; `what` reads as an order, such as ``delete session `work` ``.
///
/// # Errors
///
/// A usage error that names `--yes` where nobody can answer, and [`Failure::Said`] for a no.
pub(super) fn confirm(output: &Output, what: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !is_possible(output) {
        return Err(Failure::usage(
            format!("nobody is there to confirm: {what}"),
            "add `--yes` to do it without being asked",
        ));
    }
    let mut question = what.to_owned();
    if let Some(first) = question.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    output.stderr(format_args!("{}? [y/N] ", visible::line(&question)));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("failed to read the answer")?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        Ok(())
    } else {
        output.stderr("nothing was changed\n");
        Err(Failure::Said)
    }
}

/// Asks for a secret without showing it.
///
/// The terminal is read byte by byte, so that Ctrl-C arrives here and the terminal is as it was
/// before when this returns, whatever happens.
pub(super) fn secret(output: &Output, prompt: &str) -> Result<SecretString, Failure> {
    let quiet = Quiet::start().context("failed to turn off the terminal's echo")?;
    output.stderr(format_args!("{}: ", visible::line(prompt)));
    let typed = read_typed(|byte| rustix::io::read(io::stdin(), byte).map_err(io::Error::from));
    drop(quiet);
    output.stderr("\n");
    typed
}

/// Reads what is typed until Enter; understands the keys that correct and those that give up.
fn read_typed(
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
) -> Result<SecretString, Failure> {
    // Room is made once: a buffer that grows leaves pieces of the secret behind.
    let mut typed = Zeroizing::new(Vec::with_capacity(MAX_SECRET_LEN));
    loop {
        let mut byte = Zeroizing::new([0]);
        let count = match read(&mut *byte) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(anyhow::Error::new(error).context("failed to read").into()),
        };
        match byte[0] {
            _ if count == 0 => break,
            b'\r' | b'\n' | CTRL_D => break,
            CTRL_C => return Err(Failure::Interrupted),
            CTRL_U => typed.clear(),
            BACKSPACE | DELETE => {
                while typed.pop().is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000) {}
            }
            _ if typed.len() == MAX_SECRET_LEN => {
                return Err(Failure::request("the secret is too long", "use `--key-file`"));
            }
            byte => typed.push(byte),
        }
    }
    checked(&typed)
}

/// Trims a secret and refuses what cannot be one.
pub(super) fn checked(bytes: &[u8]) -> Result<SecretString, Failure> {
    // The bytes are not quoted in any message: they may be most of a key.
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(Failure::usage("the key is not UTF-8 text", "check what you gave as the key"));
    };
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err(Failure::usage(
            "the key is empty",
            "give it again; it is not shown as you type",
        ));
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Failure::usage(
            "the key holds blanks, line breaks or control characters",
            "give the key alone, as the vendor shows it",
        ));
    }
    Ok(SecretString::from(text))
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Quiet(Termios);

impl Quiet {
    fn start() -> io::Result<Self> {
        let before = termios::tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        termios::tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // There is nobody to tell; the next prompt of the shell mends its terminal too.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// More than any key; tokens of some clouds reach a few thousand bytes.
pub(super) const MAX_SECRET_LEN: usize = 64 * 1024;
const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const BACKSPACE: u8 = 8;
const CTRL_U: u8 = 21;
const DELETE: u8 = 127;

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn typed(text: &str) -> Result<String, Failure> {
        let mut bytes = text.bytes();
        let secret = read_typed(|byte| {
            Ok(bytes.next().map_or(0, |next| {
                byte[0] = next;
                1
            }))
        })?;
        Ok(secret.expose_secret().to_owned())
    }

    #[test]
    fn typing_can_be_corrected_and_given_up() {
        assert_eq!(typed("sk-1\r").unwrap(), "sk-1");
        assert_eq!(typed("sé\u{7f}k-12\u{8}\n").unwrap(), "sk-1");
        assert_eq!(typed("wrong\u{15}right\n").unwrap(), "right");
        assert_eq!(typed("  sk-1\t \n").unwrap(), "sk-1");
        assert!(matches!(typed("sk-\u{3}"), Err(Failure::Interrupted)));
    }

    #[test]
    fn what_cannot_be_a_key_is_refused_without_being_quoted() {
        for bad in ["", " \n", "a b", "a\u{1b}[31mb", "line\nbreak"] {
            let failure = checked(bad.as_bytes()).unwrap_err();
            assert_eq!(failure.exit_code(), 2, "{bad:?}");
            assert!(bad.trim().is_empty() || !failure.to_string().contains(bad.trim()));
        }
        assert!(checked(&[0xff]).is_err());
        assert_eq!(checked("\u{feff}k\r\n".as_bytes()).unwrap().expose_secret(), "k");
    }
}
