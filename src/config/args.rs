//! What configures the service besides its file: variables and flags.

use std::{collections::BTreeMap, path::PathBuf};

/// What the name of each of our variables begins with.
pub(super) const NAMESPACE: &str = "GASTANK_";
/// The name, without its namespace, of the variable that does what `--config` does.
pub(super) const CONFIG_VARIABLE: &str = "GASTANK_CONFIG";

/// Environment variables by name.
pub type Env = BTreeMap<String, String>;

/// Flags of the command line that configure the service. A flag wins over the environment and the file.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file, in TOML [default: none] [variable: GASTANK_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data directory [default: gastank-data in $XDG_DATA_HOME or ~/.local/share]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Store, as sqlite:PATH or scylla://host:port,host:port/keyspace [default: gastank.db in the data directory]
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
    /// Address of the public HTTP listener [default: 127.0.0.1:7080]
    #[arg(long, value_name = "ADDR")]
    pub http: Option<String>,
    /// Address of the public HTTP listener with TLS, or off [default: off]
    #[arg(long, value_name = "ADDR")]
    pub https: Option<String>,
    /// Address of the UDP listener, or off [default: 127.0.0.1:7080]
    #[arg(long, value_name = "ADDR")]
    pub udp: Option<String>,
    /// Address of the QUIC listener, or off [default: 127.0.0.1:7443]
    #[arg(long, value_name = "ADDR")]
    pub quic: Option<String>,
    /// Address of the admin listener [default: 127.0.0.1:7090]
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// Validate the configuration, the certificate and the addresses, and exit
    #[arg(long)]
    pub check: bool,
}
