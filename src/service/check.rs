//! What `serve --check` looks at beyond the configuration itself: the files that it names, and the addresses.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
};

use crate::{
    config::{Config, StoreUrl},
    control::hooks::secrets::HookSecrets,
    entropy::OsEntropy,
    identity::Providers,
    telemetry::{Health, Telemetry},
    time::{Clock, MeterClock},
    tls::{CertificateSource, Certificates},
};

use crate::rewards::ShopSecrets;

use super::{error::ServiceError, home::Home, parts::likely_mistakes};

/// Tries what a start would do first, and undoes it. Answers what is worth knowing though a start may work.
///
/// # Errors
///
/// What would keep the service from starting: a data directory, a secret or a certificate that cannot be used, an address that is
/// not this machine's or may not be bound. An address that is in use is only told of: this service may be running.
pub fn check(config: &Config) -> Result<Vec<String>, ServiceError> {
    let wall = MeterClock::resume(None).wall();
    let mut warnings = Vec::new();
    let has_secret = Home::look(&config.data_dir, &OsEntropy)?;
    if let StoreUrl::Sqlite(path) = &config.store
        && !has_secret
        && fs::metadata(path).is_ok_and(|found| found.len() > 0)
    {
        warnings.push(format!(
            "there is a data file, {}, and no cluster.secret in {}: a start makes a new one only if nothing needs the old one",
            path.display(),
            config.data_dir.display()
        ));
    }
    HookSecrets::open(config.hooks_secrets(), config.hooks.tolerance(), wall)?;
    ShopSecrets::open(&config.shops_secrets())?;
    let (telemetry, clock): (_, Arc<dyn Clock>) = (Telemetry::new(Health::new()), Arc::new(MeterClock::resume(None)));
    Providers::new(config.identity_providers(), &clock, &telemetry)?;
    warnings.extend(likely_mistakes(config));
    let source = config.tls.source(&config.data_dir);
    if matches!(source, CertificateSource::Files { .. }) {
        Certificates::open(source, telemetry, wall)?;
    }
    let tcp = |addr: SocketAddr| TcpListener::bind(addr).map(drop);
    let udp = |addr: SocketAddr| UdpSocket::bind(addr).map(drop);
    let listeners = [
        ("http", Some(config.http.addr.get()), &tcp as &dyn Fn(SocketAddr) -> io::Result<()>),
        ("https", config.https.addr.get(), &tcp),
        ("admin", Some(config.admin.addr.get()), &tcp),
        ("udp", config.udp.addr.get(), &udp),
        ("quic", config.quic.addr.get(), &udp),
    ];
    for (name, addr, bind) in listeners {
        let Some(addr) = addr else { continue };
        match bind(addr) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                warnings
                    .push(format!("{name}.addr {addr} is in use: by this service, if it runs, or by another program"));
            }
            Err(source) => return Err(ServiceError::Bind { name, addr, source }),
        }
    }
    Ok(warnings)
}
