//! The age program as the one that decrypts: passphrases, plugins and tokens are its matter.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{ChildStderr, Command, Stdio},
    thread,
};

use zeroize::Zeroizing;

use crate::output::Failure;

/// How a custodian decrypts.
#[derive(Clone, Debug, clap::Args)]
pub struct Age {
    /// age identity of yours; a file that `age -i` takes, plugins and passphrases included.
    #[arg(long, value_name = "FILE")]
    pub identity: PathBuf,
    /// The program that decrypts.
    #[arg(long, value_name = "PROGRAM", default_value = "age")]
    pub age: PathBuf,
}

impl Age {
    /// The plaintext, or what age said. A passphrase is asked for on the terminal by age itself.
    ///
    /// # Errors
    /// Environment: the program does not start.
    pub fn decrypt(&self, file: &[u8]) -> Result<Result<Zeroizing<Vec<u8>>, String>, Failure> {
        let failed = |error: std::io::Error| {
            Failure::environment("age", format!("{}: {error}", self.age.display()))
                .expected("the program age (Debian package age), or rage")
                .next("install it, or name it with --age")
        };
        let mut child = Command::new(&self.age)
            .args(["--decrypt", "--identity"])
            .arg(&self.identity)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let listening = child.stderr.take().map(|stderr| thread::spawn(|| listen(stderr)));
        let stdin = child.stdin.take();
        // Beside each other: age answers while it reads, and a share file holds a whole bundle.
        let done = thread::scope(|scope| {
            scope.spawn(move || {
                // age may refuse before it has read everything: what it says counts, not the broken pipe.
                stdin.map(|mut stdin| stdin.write_all(file))
            });
            child.wait_with_output()
        })
        .map_err(failed)?;
        let plaintext = Zeroizing::new(done.stdout);
        let said = listening.and_then(|thread| thread.join().ok()).unwrap_or_default();
        Ok(if done.status.success() { Ok(plaintext) } else { Err(said) })
    }

    /// Decrypts a file of one's own.
    ///
    /// # Errors
    /// Refused: it does not open with this identity.
    pub fn open(&self, path: &Path, file: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
        self.decrypt(file)?.map_err(|said| {
            Failure::refused("share-closed", format!("{}: does not open", path.display()))
                .expected("a share file that was encrypted to your identity")
                .found(said)
                .next(
                    "check --share and --identity; an earlier copy of the share file does as well",
                )
        })
    }
}

/// Passes on what a plugin asks for (a touch, a PIN), keeps why it did not work.
fn listen(stderr: ChildStderr) -> String {
    let mut why = String::new();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if line.contains("error") {
            if why.is_empty() {
                why = line;
            }
        } else if !line.contains("report unexpected or unhelpful errors") {
            eprintln!("{line}");
        }
    }
    why
}
