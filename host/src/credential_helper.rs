//! Credential helpers: the user's own programs that print a secret, as `pass show KEY` does.

use std::{
    io::{self, Read as _},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use zeroize::Zeroizing;

/// How long a helper may take: it may ask its user for a passphrase first.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// Why a helper gave no secret. Names the program only: its arguments may hold secrets.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// It names no program.
    #[error("the command is empty")]
    Empty,
    /// It could not be run.
    #[error("failed to run `{program}`")]
    Io {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It reported a failure.
    #[error("`{program}` failed: {status}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// It took too long, and was ended.
    #[error("`{program}` printed nothing to the end within {} s", patience.as_secs())]
    Late {
        /// The program.
        program: String,
        /// How long it had.
        patience: Duration,
    },
}

/// Runs a helper and returns what it printed, at most `most` bytes. Blocks.
///
/// Its standard error and terminal stay the user's, so that it can ask for a passphrase.
///
/// # Errors
///
/// [`HelperError`].
pub(crate) fn run(
    argv: &[String],
    most: usize,
    patience: Duration,
) -> Result<Zeroizing<Vec<u8>>, HelperError> {
    let [program, arguments @ ..] = argv else { return Err(HelperError::Empty) };
    let io = |source| HelperError::Io { program: program.clone(), source };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(io)?;
    let (said, hears) = mpsc::sync_channel(1);
    if let Some(output) = child.stdout.take() {
        // A thread, because a pipe cannot be read with a time limit. It ends with the pipe.
        thread::spawn(move || {
            let mut text = Zeroizing::new(Vec::with_capacity(most));
            // Dropping the pipe ends a program that talks without end.
            let read = output.take(most as u64).read_to_end(&mut text);
            let _ = said.send(read.map(|_| text));
        });
    }
    let Ok(read) = hears.recv_timeout(patience) else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(HelperError::Late { program: program.clone(), patience });
    };
    let text = read.map_err(io)?;
    let status = child.wait().map_err(io)?;
    if status.success() {
        Ok(text)
    } else {
        Err(HelperError::Failed { program: program.clone(), status })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, patience: Duration) -> Result<Zeroizing<Vec<u8>>, HelperError> {
        run(&["sh", "-c", script].map(String::from), 64, patience)
    }

    #[test]
    fn what_it_prints_comes_back_or_why_not() {
        assert_eq!(**sh("printf s3cret", PATIENCE).unwrap(), *b"s3cret");
        assert_eq!(sh("exit 3", PATIENCE).unwrap_err().to_string(), "`sh` failed: exit status: 3");
        assert!(matches!(run(&[], 1, PATIENCE), Err(HelperError::Empty)));
        assert!(matches!(run(&["no-such".into()], 1, PATIENCE), Err(HelperError::Io { .. })));
    }

    #[test]
    fn one_that_never_ends_is_ended() {
        // It says what it is, so that the test can see that it is gone.
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("echo $$ > {}; exec sleep 1000", pid.display());
        let mut patience = Duration::from_millis(50);
        // On a busy machine it may be ended before it could say anything.
        let pid = loop {
            let late = sh(&script, patience).unwrap_err();
            assert!(matches!(late, HelperError::Late { .. }), "{late}");
            match std::fs::read_to_string(&pid) {
                Ok(text) if text.ends_with('\n') => break text.trim().to_owned(),
                _ => patience *= 2,
            }
        };
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
        // Talking without end is no way around it: only so much is read.
        assert!(matches!(sh("exec yes", PATIENCE), Err(HelperError::Failed { .. })));
    }
}
