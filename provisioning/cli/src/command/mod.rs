//! The subcommands, one file each. A leaf's `after_help` starts with `Examples:` (a test holds it).

pub mod audit;
pub mod bundle;
pub mod client;
pub mod forward;
pub mod genesis;
pub mod host;
pub mod request;
pub mod share;
pub mod site;
pub mod status;
pub mod update;

use clap::Subcommand;

use crate::output::{Failure, Output};

/// What `casemate` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The directory that describes a site.
    #[command(subcommand)]
    Site(site::Command),
    /// Boxes of the site: verify and list them.
    #[command(subcommand)]
    Host(host::Command),
    /// What a box says about itself, and whether it holds.
    #[command(subcommand)]
    Request(request::Command),
    /// The bundle: everything that can be configured on the boxes.
    #[command(subcommand)]
    Bundle(bundle::Command),
    /// A root is made on a box and shared among custodians.
    #[command(subcommand)]
    Genesis(genesis::Command),
    /// Shares of the root key, for custodians.
    #[command(subcommand)]
    Share(share::Command),
    /// Gives the root from a box that serves to one that lost it.
    ///
    /// Gives the root from a box that serves to a listed box that has lost it (or keeps none), sealed to
    /// that one boot. Both must be under the same bundle; the giving box verifies the other one's quote,
    /// keys, firmware and image itself. No custodian is needed. A box that is open already is left alone.
    Forward(forward::Command),
    /// Keys of applications, operators and collectors.
    #[command(subcommand)]
    Client(client::Command),
    /// Shows where a box stands.
    ///
    /// Asks a box where it stands. With a client that may monitor or operate: everything; without one: what
    /// its request and its health say.
    Status(status::Command),
    /// Sends an image that the newest signed bundle lists to one box, or to all, one at a time.
    ///
    /// A box writes it to the ESP that does not run, starts it once, and keeps it when it has answered this
    /// command; otherwise it goes back to the image of before by itself. A box that runs the image already
    /// is passed over, so the same command goes on where it stopped.
    Update(update::Command),
    /// The audit log: collect it, verify it, read it.
    #[command(subcommand)]
    Audit(audit::Command),
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The command's own.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Site(command) => command.run(output),
            Self::Host(command) => command.run(output),
            Self::Request(command) => command.run(output),
            Self::Bundle(command) => command.run(output),
            Self::Genesis(command) => command.run(output),
            Self::Share(command) => command.run(output),
            Self::Forward(command) => command.run(output),
            Self::Client(command) => command.run(output),
            Self::Status(command) => command.run(output),
            Self::Update(command) => command.run(output),
            Self::Audit(command) => command.run(output),
        }
    }
}
