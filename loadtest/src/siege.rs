//! A siege: attackers without a credential, beside good clients. What the good ones notice of them is what a run proves.
//!
//! Attackers come from loopback addresses of their own, and so only services of this machine are besieged. They never stop:
//! whatever is closed is opened again. Newcomers are no attackers: good clients that come while it lasts, by every listener,
//! and are counted when they are not served.

mod attacks;
mod http;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};

use crate::transport::Trust;

/// What attackers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttackKind {
    /// Connections that send one byte.
    OneByte,
    /// The head of an activation and one byte of its body.
    HalfRequests,
    /// Connections of HTTP/2 with 128 revocations whose bodies do not come.
    Streams,
    /// Connections to the listener with TLS that say nothing.
    SilentTls,
    /// Credit that nobody signed, with a signature that costs public-key work.
    ForgedHooks,
    /// Account events that nobody signed.
    ForgedEvents,
    /// Activations with keys that there are not.
    WrongKeys,
    /// Introspections with secrets that are wrong.
    WrongSecrets,
    /// Datagrams of noise to the listeners of UDP and QUIC.
    Garbage,
    /// Connections of `gastank/1` that never send a frame.
    QuicIdlers,
    /// WebTransport sessions that never send a frame.
    WebtransportIdlers,
    /// No attack: good clients that come now, by HTTP, TLS and QUIC.
    Newcomers,
}

impl AttackKind {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OneByte => "one-byte",
            Self::HalfRequests => "half-requests",
            Self::Streams => "streams",
            Self::SilentTls => "silent-tls",
            Self::ForgedHooks => "forged-hooks",
            Self::ForgedEvents => "forged-events",
            Self::WrongKeys => "wrong-keys",
            Self::WrongSecrets => "wrong-secrets",
            Self::Garbage => "garbage",
            Self::QuicIdlers => "quic-idlers",
            Self::WebtransportIdlers => "webtransport-idlers",
            Self::Newcomers => "newcomers",
        }
    }
}

/// What attackers of one kind do, how many of them, and where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttackPlan {
    /// What they do.
    pub kind: AttackKind,
    /// How many at a time.
    pub at_once: u16,
    /// A loopback address of their own.
    pub from: Ipv4Addr,
}

/// Where the service is that is besieged.
pub struct Besieged {
    /// Its public listener.
    pub http: SocketAddr,
    /// The same with TLS, if it has one.
    pub https: Option<SocketAddr>,
    /// Where it takes datagrams, if it does.
    pub udp: Option<SocketAddr>,
    /// Where it speaks QUIC, if it does; and the path of WebTransport sessions there.
    pub quic: Option<(SocketAddr, String)>,
    /// Whom to trust there.
    pub trust: Arc<Trust>,
}

/// What became of attackers of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct AttackReport {
    /// What they did.
    pub kind: AttackKind,
    /// Where they came from.
    pub from: Ipv4Addr,
    /// How many at a time.
    pub at_once: u16,
    /// Connections, requests or datagrams that they began.
    pub begun: u64,
    /// Of these: ended by the service or answered with a refusal. Of newcomers: not served.
    pub refused: u64,
}

/// What attackers of one kind count.
#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    refused: AtomicU64,
}

/// What an attacker knows.
struct Attacker {
    plan: AttackPlan,
    number: u64,
    besieged: Arc<Besieged>,
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
}

/// A siege that goes on until it is ended.
pub struct Siege {
    runtime: Runtime,
    attacks: Vec<(AttackPlan, Arc<Counts>)>,
    stop: Arc<AtomicBool>,
}

impl Siege {
    /// Begins it.
    ///
    /// # Errors
    ///
    /// Those of the system, and a service of another machine.
    pub fn begin(plans: &[AttackPlan], besieged: Besieged) -> anyhow::Result<Self> {
        anyhow::ensure!(besieged.http.ip().is_loopback(), "only services of this machine are besieged");
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("siege").enable_all().build()?;
        let (besieged, stop) = (Arc::new(besieged), Arc::<AtomicBool>::default());
        let mut attacks = Vec::new();
        for plan in plans {
            let counts = Arc::<Counts>::default();
            for number in 0..plan.at_once {
                let attacker = Attacker {
                    plan: plan.clone(),
                    number: number.into(),
                    besieged: Arc::clone(&besieged),
                    counts: Arc::clone(&counts),
                    stop: Arc::clone(&stop),
                };
                runtime.spawn(attacker.attack());
            }
            attacks.push((plan.clone(), counts));
        }
        Ok(Self { runtime, attacks, stop })
    }

    /// Ends it. Answers what became of the attackers.
    pub fn end(self) -> Vec<AttackReport> {
        self.stop.store(true, Ordering::Relaxed);
        let report = |(plan, counts): &(AttackPlan, Arc<Counts>)| AttackReport {
            kind: plan.kind,
            from: plan.from,
            at_once: plan.at_once,
            begun: counts.begun.load(Ordering::Relaxed),
            refused: counts.refused.load(Ordering::Relaxed),
        };
        let reports = self.attacks.iter().map(report).collect();
        self.runtime.shutdown_background();
        reports
    }
}

/// How long an attacker rests before it begins anew what was ended.
const REST: Duration = Duration::from_millis(100);

impl Attacker {
    async fn attack(self) {
        // They do not all come in the same instant.
        tokio::time::sleep(Duration::from_millis(self.number % 1000)).await;
        while !self.stop.load(Ordering::Relaxed) {
            let done = match self.plan.kind {
                AttackKind::OneByte => self.hold(self.besieged.http, b"P").await,
                AttackKind::HalfRequests => self.hold(self.besieged.http, http::HALF_ACTIVATION).await,
                AttackKind::SilentTls => self.silent_tls().await,
                AttackKind::Streams => self.streams().await,
                AttackKind::ForgedHooks => self.ask(http::forged_hook).await,
                AttackKind::ForgedEvents => self.ask(http::forged_event).await,
                AttackKind::WrongKeys => self.ask(http::wrong_key).await,
                AttackKind::WrongSecrets => self.ask(http::wrong_secret).await,
                AttackKind::Garbage => self.garbage().await,
                AttackKind::QuicIdlers => self.idle(b"gastank/1").await,
                AttackKind::WebtransportIdlers => self.idle(b"h3").await,
                AttackKind::Newcomers => self.newcomer().await,
            };
            if done.is_err() && !self.stop.load(Ordering::Relaxed) {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
            }
            tokio::time::sleep(REST).await;
        }
    }

    fn begins(&self) {
        self.counts.begun.fetch_add(1, Ordering::Relaxed);
    }

    fn from(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.plan.from), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_elses_service_is_besieged() {
        let besieged = Besieged {
            http: "192.0.2.1:80".parse().unwrap(),
            https: None,
            udp: None,
            quic: None,
            trust: Arc::new(Trust::Anyone),
        };
        assert!(Siege::begin(&[], besieged).is_err());
    }
}
