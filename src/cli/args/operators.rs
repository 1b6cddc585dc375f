//! What may be typed of accounts, edges, rewards, clients, sessions, keys and the audit log.

use clap::{Args, Subcommand};

use super::{not_zero, positive};
use crate::cli::span::Seconds;

/// `gastank account`
#[derive(Clone, Debug, Subcommand)]
pub enum AccountCommand {
    /// Create an account, or show the existing one of this issuer and subject
    #[command(after_help = "\
Examples:
  gastank account create --credit 2h --key
  gastank account create --issuer https://accounts.example.org --subject 8f3c")]
    Create {
        /// Issuer: the person's identity provider [default: local]
        #[arg(long, value_name = "NAME")]
        issuer: Option<String>,
        /// Subject: the person's id at the issuer [default: the account's id]
        #[arg(long, value_name = "NAME")]
        subject: Option<String>,
        /// Initial credit: 90, 15m, 2h, 1d
        #[arg(long, value_name = "SPAN", value_parser = positive)]
        credit: Option<Seconds>,
        /// Also create an account key, which activates without an identity provider
        #[arg(long)]
        key: bool,
    },
    /// List the accounts
    #[command(after_help = "\
Examples:
  gastank account list
  gastank account list --limit 1000 --json")]
    List {
        /// Maximum number of accounts
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        limit: u32,
    },
    /// Show the account that an issuer and a subject have; makes none
    #[command(after_help = "\
Examples:
  gastank account find https://accounts.example.org 8f3c
  gastank account find local ACCOUNT --json

Exit code 1 if nobody there has an account.")]
    Find {
        /// The identity provider that knows the person
        #[arg(value_name = "ISSUER")]
        issuer: String,
        /// The person's name there
        #[arg(value_name = "SUBJECT", allow_hyphen_values = true)]
        subject: String,
    },
    /// Show an account: its tank, its debt and its latest session
    #[command(after_help = "\
Examples:
  gastank account show ACCOUNT")]
    Show {
        /// The account's id
        #[arg(value_name = "ACCOUNT", allow_hyphen_values = true)]
        id: String,
    },
    /// Show the ledger of an account, newest entry first, with the balance after each entry
    #[command(after_help = "\
Examples:
  gastank account ledger ACCOUNT
  gastank account ledger ACCOUNT --limit 10
  gastank account ledger ACCOUNT --limit 100000 --json

The time used by the open session is entered when the session ends.")]
    Ledger {
        /// The account's id
        #[arg(value_name = "ACCOUNT", allow_hyphen_values = true)]
        id: String,
        /// Maximum number of entries, newest first
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        limit: u32,
    },
    /// Add credit to a tank, or remove credit from it
    #[command(after_help = "\
Examples:
  gastank account credit ACCOUNT 90            90 seconds
  gastank account credit ACCOUNT 15m --reason \"thank you\"
  gastank account credit ACCOUNT -2h           removes up to two hours
  gastank account credit ACCOUNT 1d --idempotency-key order-1234

Repeating a command with the same key adds the credit once. Without a key, a random one is used and shown.")]
    Credit {
        /// The account's id
        #[arg(value_name = "ACCOUNT", allow_hyphen_values = true)]
        id: String,
        /// Amount: 90, 15m, 2h, 1d; a negative amount removes credit
        #[arg(value_name = "SECONDS", allow_hyphen_values = true, value_parser = not_zero)]
        seconds: Seconds,
        /// Note in the ledger
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Idempotency key: repeating the command with the same key changes nothing [default: random]
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
    },
    /// Add, list and remove account keys, which activate without an identity provider
    #[command(after_help = "\
Examples:
  gastank account key add ACCOUNT
  gastank account key list ACCOUNT
  gastank account key remove ACCOUNT KEY_ID")]
    Key {
        /// The command to run
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Delete an account permanently, with its session, ledger and keys
    #[command(after_help = "\
Examples:
  gastank account delete ACCOUNT
  gastank account delete ACCOUNT --yes         without confirmation, for scripts")]
    Delete {
        /// The account's id
        #[arg(value_name = "ACCOUNT", allow_hyphen_values = true)]
        id: String,
        /// Skip the confirmation
        #[arg(long)]
        yes: bool,
    },
}

/// `gastank account key`
#[derive(Clone, Debug, Subcommand)]
pub enum KeyCommand {
    /// Create a key; it is shown once
    Add {
        /// The account's id
        #[arg(value_name = "ACCOUNT", allow_hyphen_values = true)]
        id: String,
    },
    /// List the keys of an account by id, without their secrets
    List {
        /// The account's id
        #[arg(value_name = "ACCOUNT", allow_hyphen_values = true)]
        id: String,
    },
    /// Remove a key; activations with it are refused from then on
    Remove {
        /// The account's id
        #[arg(value_name = "ACCOUNT", allow_hyphen_values = true)]
        id: String,
        /// The key's id
        #[arg(value_name = "KEY_ID", allow_hyphen_values = true)]
        key_id: String,
    },
}

/// `gastank edge`
#[derive(Clone, Debug, Subcommand)]
pub enum EdgeCommand {
    /// Register an edge; its secret is shown once
    #[command(after_help = "\
Examples:
  gastank edge add cloudflare
  gastank edge add gateway-eu --audience gateway")]
    Add {
        /// Display name
        #[arg(value_name = "NAME")]
        name: String,
        /// The audience whose tokens it enforces
        #[arg(long, value_name = "AUDIENCE", default_value = "edge")]
        audience: String,
    },
    /// List the edges
    List,
    /// Remove an edge; its requests are refused from then on
    Remove {
        /// The edge's client id
        #[arg(value_name = "CLIENT_ID", allow_hyphen_values = true)]
        client_id: String,
    },
    /// Replace an edge's secret without downtime: add one, switch the edge over, remove the old one
    #[command(after_help = "\
Examples:
  gastank edge secret add CLIENT_ID
  gastank edge secret list CLIENT_ID
  gastank edge secret remove CLIENT_ID SECRET_ID")]
    Secret {
        /// The command to run
        #[command(subcommand)]
        command: SecretCommand,
    },
}

/// `gastank reward`
#[derive(Clone, Debug, Subcommand)]
pub enum RewardCommand {
    /// List what rewards are paid for, with what has been given out of each budget today
    List,
    /// List the earner tokens of an account
    Earners {
        /// The account's id
        #[arg(value_name = "ACCOUNT", allow_hyphen_values = true)]
        id: String,
    },
    /// List the lines of orders that cannot be credited and are kept for a refund
    Kept,
    /// Remove a line that has been seen to; it does not come back
    Done {
        /// The shop's domain
        #[arg(value_name = "SHOP")]
        shop: String,
        /// The line's id
        #[arg(value_name = "LINE")]
        line: u64,
    },
    /// Revoke an earner token; it earns nothing from then on
    Revoke {
        /// The account's id
        #[arg(value_name = "ACCOUNT", allow_hyphen_values = true)]
        id: String,
        /// The earner token's id
        #[arg(value_name = "EARNER")]
        earner_id: String,
    },
}

/// `gastank client`
#[derive(Clone, Debug, Subcommand)]
pub enum HubClientCommand {
    /// Register a client; its secret is shown once
    #[command(after_help = "\
Examples:
  gastank client add mail --redirect-uri https://mail.example.org/callback
  gastank client add extension --public --tank --redirect-uri http://127.0.0.1/callback")]
    Add {
        /// Display name
        #[arg(value_name = "NAME")]
        name: String,
        /// Where browsers are sent back to, exactly as the client asks for it; may be repeated. Any port of a loopback
        /// address will do
        #[arg(long = "redirect-uri", value_name = "URI", required = true)]
        redirect_uris: Vec<String>,
        /// Where browsers may be sent after the client has signed somebody out; may be repeated
        #[arg(long = "post-logout-redirect-uri", value_name = "URI")]
        post_logout_redirect_uris: Vec<String>,
        /// The client cannot keep a secret: an app or a page
        #[arg(long)]
        public: bool,
        /// Its handles may activate tanks and read accounts
        #[arg(long)]
        tank: bool,
        /// Where it is told that hub sessions of its people have ended: https, or http on this machine
        #[arg(long, value_name = "URI")]
        backchannel_logout_uri: Option<String>,
    },
    /// List the clients
    List,
    /// Remove a client; nobody signs in to it from then on
    Remove {
        /// The client's id
        #[arg(value_name = "CLIENT_ID", allow_hyphen_values = true)]
        client_id: String,
    },
    /// Replace a client's secret without downtime: add one, switch the client over, remove the old one
    #[command(after_help = "\
Examples:
  gastank client secret add CLIENT_ID
  gastank client secret list CLIENT_ID
  gastank client secret remove CLIENT_ID SECRET_ID")]
    Secret {
        /// The command to run
        #[command(subcommand)]
        command: SecretCommand,
    },
}

/// `gastank edge secret` and `gastank client secret`
#[derive(Clone, Debug, Subcommand)]
pub enum SecretCommand {
    /// Create a second secret; it is shown once
    Add {
        /// The client id
        #[arg(value_name = "CLIENT_ID", allow_hyphen_values = true)]
        client_id: String,
    },
    /// List the secrets by id, oldest first
    List {
        /// The client id
        #[arg(value_name = "CLIENT_ID", allow_hyphen_values = true)]
        client_id: String,
    },
    /// Remove a secret; requests with it are refused from then on
    Remove {
        /// The client id
        #[arg(value_name = "CLIENT_ID", allow_hyphen_values = true)]
        client_id: String,
        /// The secret's id
        #[arg(value_name = "SECRET_ID", allow_hyphen_values = true)]
        secret_id: String,
    },
}

/// `gastank session`
#[derive(Clone, Debug, Subcommand)]
pub enum SessionCommand {
    /// Show the account of a session, and when and why the session ended
    #[command(after_help = "\
Examples:
  gastank session show SESSION")]
    Show {
        /// The session's id
        #[arg(value_name = "SESSION", allow_hyphen_values = true)]
        id: String,
    },
    /// Revoke a session: end its token and charge the time used
    Revoke {
        /// The session's id
        #[arg(value_name = "SESSION", allow_hyphen_values = true)]
        id: String,
    },
    /// Show the heartbeat history of a session: times and state bits
    ///
    /// One row per checkpoint, with the latest heartbeat before it. The service records the history only if
    /// `history.keep_days` is set.
    #[command(after_help = "\
Examples:
  gastank session history SESSION
  gastank session history SESSION --since 2h
  gastank session history SESSION --since 30d --limit 100000 --json

The ids of sessions are in `gastank account show` and `gastank audit`.")]
    History(HistoryArgs),
}

/// `gastank session history`
#[derive(Clone, Debug, Args)]
pub struct HistoryArgs {
    /// The session's id
    #[arg(value_name = "SESSION", allow_hyphen_values = true)]
    pub id: String,
    /// Time span up to now: 90, 15m, 2h, 30d
    #[arg(long, value_name = "SPAN", default_value = "1d", value_parser = positive)]
    pub since: Seconds,
    /// Maximum number of rows, oldest first
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub limit: u32,
}

/// `gastank keys`
#[derive(Clone, Debug, Subcommand)]
pub enum KeysCommand {
    /// Create a new signing key; it is published at once and signs as soon as every edge has had time to load it
    Rotate,
    /// Create a new cluster secret; new sessions use it at once, open sessions keep the old one until they end
    RotateSecret,
    /// List the signing keys
    List,
}

/// `gastank audit`
#[derive(Clone, Debug, Args)]
pub struct AuditArgs {
    /// Only acts on this account
    #[arg(long, value_name = "ACCOUNT", allow_hyphen_values = true)]
    pub account: Option<String>,
    /// Time span up to now: 90, 15m, 2h, 30d
    #[arg(long, value_name = "SPAN", default_value = "1d", value_parser = positive)]
    pub since: Seconds,
    /// Only acts of this kind, such as session_opened or credit_entered
    #[arg(long, value_name = "ACT")]
    pub act: Option<String>,
    /// Maximum number of rows, newest first [default: 100; with --follow 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub limit: Option<u32>,
    /// Print the latest rows, then new ones until interrupted; with --json, one row per line
    #[arg(long)]
    pub follow: bool,
}
