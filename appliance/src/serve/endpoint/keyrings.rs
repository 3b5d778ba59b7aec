//! `GET /v1/keyrings`: what this client may use, and how.

use casemate_formats::{
    api,
    bundle::body::{Keyring, Label, Roles},
    code::Code,
};

use crate::{
    reply::{Refusal, Reply},
    serve::routes::Call,
};

const WORDS: [(Roles, &str); 4] = [
    (Roles::ENCRYPT, "encrypt"),
    (Roles::DECRYPT, "decrypt"),
    (Roles::REWRAP, "rewrap"),
    (Roles::INDEX, "index"),
];

pub(in crate::serve) fn get(call: &Call<'_>) -> Result<Reply, Refusal> {
    let client = call.client.ok_or(Code::NoClientCertificate)?;
    let policy = call.now.policy.as_ref().ok_or(Code::WrongPhase)?;
    let keyrings = policy.keyrings(client.id).map(|(keyring, roles)| shown(keyring, roles));
    Reply::json(&api::Keyrings { keyrings: keyrings.collect() })
}

fn shown(keyring: &Keyring, roles: Roles) -> api::Keyring {
    let held = WORDS.iter().filter(|(role, _)| roles.contains(*role));
    let versions = u32::try_from(keyring.versions.len()).unwrap_or(u32::MAX);
    api::Keyring {
        name: keyring.name.to_string(),
        context: keyring.context.iter().map(Label::to_string).collect(),
        subject: keyring.subject.as_ref().map(Label::to_string),
        version: keyring.first_version.saturating_add(versions).saturating_sub(1),
        first_version: keyring.first_version,
        roles: held.map(|(_, word)| (*word).to_owned()).collect(),
    }
}
