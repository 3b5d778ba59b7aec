//! Bodies of the service's calls, as an application would write them.

use anyhow::Result;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use casemate_formats::api::{Decrypted, Encrypted};
use serde_json::{Value, json};

use crate::{
    client::{Answer, Connection},
    site::PII,
};

/// A context of the [`PII`] keyring.
#[must_use]
pub fn context(row: &str) -> Value {
    json!({ "column": "users.email", "row": row })
}

/// An item of `encrypt`.
#[must_use]
pub fn encrypt_item(keyring: &str, context: &Value, plaintext: &[u8]) -> Value {
    json!({ "keyring": keyring, "context": context, "plaintext": STANDARD.encode(plaintext) })
}

/// An item of `decrypt`.
#[must_use]
pub fn decrypt_item(token: &str, context: &Value) -> Value {
    json!({ "token": token, "context": context })
}

/// A token of a value on [`PII`], of this row.
///
/// # Errors
/// The box refuses.
pub fn encrypt(connection: &mut Connection, row: &str, plaintext: &[u8]) -> Result<String> {
    let item = encrypt_item(PII, &context(row), plaintext);
    let answer = connection.post("/v1/encrypt", item.to_string().as_bytes())?;
    Ok(answer.ok::<Encrypted>()?.token)
}

/// The answer to a decrypt on [`PII`], of this row.
///
/// # Errors
/// The network's.
pub fn decrypt(connection: &mut Connection, row: &str, token: &str) -> Result<Answer> {
    let item = decrypt_item(token, &context(row));
    connection.post("/v1/decrypt", item.to_string().as_bytes())
}

/// The value in an answer.
///
/// # Errors
/// There is none.
pub fn plaintext(answer: &Answer) -> Result<Vec<u8>> {
    Ok(answer.ok::<Decrypted>()?.plaintext.to_vec())
}
