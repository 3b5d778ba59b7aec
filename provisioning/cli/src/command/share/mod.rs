//! `casemate share …`: what a custodian does with a share of the root key.

mod ack;
mod bundle;
mod check;
mod push;
mod request;
mod seal;

use crate::output::{Failure, Output};

/// Shares of the root key, for custodians.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Checks a genesis answer, takes one's share out of it, and acknowledges it.
    ///
    /// Checks that a listed box with a listed image quoted this answer for a bundle that the site's signers
    /// signed; decrypts your share with your age identity; writes it again, encrypted to you, together with
    /// that bundle; and writes the acknowledgement that the next bundle needs. Works offline.
    Ack(ack::Command),
    /// Asks a box for everything that custodians must see, in one file.
    Request(request::Command),
    /// Seals one's share to the box that asks, after showing what it is for.
    ///
    /// Verifies the request wholly, against the signers and the bundle that your share file remembers;
    /// shows which site, box, image and bundle it is, who signed, and what differs from what you saw
    /// last; asks; then encrypts your share to that one boot of that one box. Works offline, on files.
    Seal(seal::Command),
    /// Says what one's share file is good for, without a box.
    Check(check::Command),
    /// Brings sealed shares to the box.
    Push(push::Command),
    /// Takes the newest bundle that a custodian saw out of a share file.
    Bundle(bundle::Command),
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The subcommand's own.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Ack(command) => command.run(output),
            Self::Request(command) => command.run(output),
            Self::Seal(command) => command.run(output),
            Self::Check(command) => command.run(output),
            Self::Push(command) => command.run(output),
            Self::Bundle(command) => command.run(output),
        }
    }
}
