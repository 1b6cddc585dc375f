//! The `gastank` program.

use clap::Parser;
use gastank::{
    config::{Config, ConfigArgs},
    service, telemetry,
};

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::load_here(&Args::parse().config)?;
    telemetry::init(config.log.format, &config.log.filter)?;
    service::run(config, |_, _| {}).await?;
    Ok(())
}
