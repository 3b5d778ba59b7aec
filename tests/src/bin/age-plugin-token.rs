//! An age plugin (C2SP age-plugin, identity-v1) that is a token in software: its identity holds the
//! key. For tests of what a custodian with a hardware token sees.

use std::io::{self, BufRead, Write as _};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use casemate_tests::age::AgeIdentity;

fn main() -> Result<()> {
    let phase = std::env::args().nth(1);
    ensure!(phase.as_deref() == Some("--age-plugin=identity-v1"), "started by age");
    let mut input = io::stdin().lock();
    let (mut identities, mut stanzas) = (Vec::new(), Vec::new());
    loop {
        let (words, body) = stanza(&mut input)?;
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["done"] => break,
            ["add-identity", text] => {
                identities.push(AgeIdentity::from_token(text).context("an identity")?);
            }
            ["recipient-stanza", file, "X25519", share] => {
                let share: Option<[u8; 32]> = STANDARD_NO_PAD.decode(share)?.try_into().ok();
                stanzas.push(((*file).to_owned(), share.context("32 bytes")?, body));
            }
            _ => {}
        }
    }
    tell(&mut input, "msg", b"touch the token")?;
    for (file, share, body) in stanzas {
        let opened = identities.iter().find_map(|key| key.file_key(share, &body).ok());
        if let Some(key) = opened {
            tell(&mut input, &format!("file-key {file}"), &key)?;
        }
    }
    print!("-> done\n\n");
    Ok(io::stdout().flush()?)
}

/// Sends a stanza and takes the answer, which is one too.
fn tell(input: &mut impl BufRead, words: &str, body: &[u8]) -> Result<()> {
    print!("-> {words}\n{}\n", STANDARD_NO_PAD.encode(body));
    io::stdout().flush()?;
    let (answer, _) = stanza(input)?;
    ensure!(answer.first().map(String::as_str) == Some("ok"), "age answers {answer:?}");
    Ok(())
}

/// `-> words`, then base64 in lines of 64 until a shorter one.
fn stanza(input: &mut impl BufRead) -> Result<(Vec<String>, Vec<u8>)> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let words = line.trim_end().strip_prefix("-> ").context("a stanza")?;
    let words = words.split(' ').map(ToOwned::to_owned).collect();
    let mut body = String::new();
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        body.push_str(line.trim_end());
        if line.trim_end().len() < 64 {
            return Ok((words, STANDARD_NO_PAD.decode(body)?));
        }
    }
}
