//! The cost of issuing a token and of checking its signature, for every algorithm, compared with the signature alone and with
//! the whole of the JWT library. Interleaved, one thread, medians of rounds.
//!
//! `cargo bench --bench tokens`

#![expect(clippy::print_stdout, reason = "its output is what it is for")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{hint::black_box, sync::Arc, time::Instant};

use aws_lc_rs::{
    rsa::PublicKeyComponents,
    signature::{ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation, jwk::Jwk};

use gastank::{
    control::{
        keyring::{KeyPolicy, Keyring},
        keys::{Algorithm, SigningKey},
        tokens::{Issuer, Provenance, TokenRequest, claims_of},
    },
    engine::{AccountId, ListId, SecretRing, StatusIndex},
    store::SqliteStore,
    time::{Millis, UnixMs},
    wire::{ClusterSecret, SecretId, SessionId},
};

const ROUNDS: usize = 31;
const NOW: UnixMs = UnixMs::from_ms(1_700_000_000_000);
const TTL: Millis = Millis::from_secs(86_400);
const URL: &str = "https://tank.example.org";

fn main() {
    println!("{:<32} {:>9} {:>9} {:>7}", "one thread, medians", "us", "floor us", "ratio");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for (algorithm, batch) in [(Algorithm::ES256, 1_000), (Algorithm::EdDSA, 1_000), (Algorithm::RS256, 50)] {
        let secrets = SecretRing::new(SecretId::default(), ClusterSecret::from_bytes([1; 32]));
        let store = SqliteStore::open_in_memory().expect("a store in memory");
        let policy = KeyPolicy::new(algorithm, TTL);
        let keyring = runtime.block_on(Keyring::open(&store, &secrets, policy, NOW)).expect("a fresh keyring");
        let issuer = Issuer::new(URL.into(), "gastank".into(), URL, Arc::new(keyring));
        let key = issuer.keyring().signing(NOW);
        let request = TokenRequest {
            session: SessionId::new(SecretId::default(), [7; 16]),
            account: AccountId::from_bytes([8; 16]),
            audience: "edge",
            now: NOW,
            ttl: TTL,
            nonce: [9; 8],
            status: StatusIndex { list: ListId::from_bytes([4; 8]), idx: 5 },
        };
        let text = issuer.issue(&request).expect("it signs").text;
        let signed = text.rsplit_once('.').expect("a JWT has dots").0.as_bytes();
        let library = Library::new(algorithm, &text);
        let mut times: [Vec<f64>; 6] = Default::default();
        for _ in 0..ROUNDS {
            times[0].push(time(batch, || drop(black_box(key.sign(black_box(signed))))));
            times[1].push(time(batch, || drop(black_box(issuer.issue(black_box(&request))))));
            times[2].push(time(batch, || drop(black_box(library.encode()))));
            times[3].push(time(batch, || assert!(library.verify_alone())));
            times[4].push(time(batch, || assert_eq!(issuer.provenance(black_box(&text)), Provenance::Ours)));
            times[5].push(time(batch, || assert!(library.decode(black_box(&library.token)))));
        }
        let [sign, issue, encode, verify, provenance, decode] = times.map(median);
        for (what, took, floor) in [
            ("issue / sign", issue, sign),
            ("jsonwebtoken::encode / sign", encode, sign),
            ("check / verify", provenance, verify),
            ("jsonwebtoken::decode / verify", decode, verify),
        ] {
            let what = format!("{} {what}", algorithm.name());
            println!("{what:<36} {took:>9.1} {floor:>9.1} {:>7.2}", took / floor);
        }
    }
}

/// The JWT library by itself, with a key of its own, on the claims of a token of ours.
struct Library {
    algorithm: Algorithm,
    header: Header,
    claims: gastank::control::tokens::Claims<'static>,
    private: EncodingKey,
    public: DecodingKey,
    /// The public key's members as bytes: x and y, or n and e.
    members: [Vec<u8>; 2],
    validation: Validation,
    token: String,
}

impl Library {
    fn new(algorithm: Algorithm, token: &str) -> Self {
        let (key, pkcs8) = SigningKey::generate(algorithm).expect("a key");
        let json = serde_json::to_value(key.public()).expect("JSON");
        let jwk: Jwk = serde_json::from_value(json.clone()).expect("a JWK");
        let member = |name: &str| URL_SAFE_NO_PAD.decode(json[name].as_str().unwrap_or_default()).expect("base64url");
        let members = match algorithm {
            Algorithm::RS256 => [member("n"), member("e")],
            _ => [member("x"), member("y")],
        };
        let private = match algorithm {
            Algorithm::ES256 => EncodingKey::from_ec_der(&pkcs8),
            Algorithm::EdDSA => EncodingKey::from_ed_der(&pkcs8),
            Algorithm::RS256 => EncodingKey::from_rsa_der(&pkcs8),
        };
        let mut header = Header::new(algorithm.jose());
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(key.kid().to_owned());
        let mut validation = Validation::new(algorithm.jose());
        validation.set_audience(&["edge"]);
        validation.validate_exp = false;
        let public = DecodingKey::from_jwk(&jwk).expect("a public key");
        let claims = claims_of(token).expect("claims");
        let mut this = Self { algorithm, header, claims, private, public, members, validation, token: String::new() };
        this.token = this.encode();
        this
    }

    fn encode(&self) -> String {
        jsonwebtoken::encode(&self.header, black_box(&self.claims), &self.private).expect("it signs")
    }

    /// The signature of the token alone, by the cryptography below the library.
    fn verify_alone(&self) -> bool {
        let (message, signature) = black_box(&self.token).rsplit_once('.').expect("a JWT has dots");
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        let [first, second] = &self.members;
        let verified = match self.algorithm {
            Algorithm::ES256 => {
                let point = [&[4], first.as_slice(), second.as_slice()].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message.as_bytes(), &signature)
            }
            Algorithm::EdDSA => UnparsedPublicKey::new(&ED25519, first).verify(message.as_bytes(), &signature),
            Algorithm::RS256 => PublicKeyComponents { n: first, e: second }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message.as_bytes(),
                &signature,
            ),
        };
        verified.is_ok()
    }

    fn decode(&self, token: &str) -> bool {
        jsonwebtoken::decode::<serde_json::Value>(token, &self.public, &self.validation).is_ok()
    }
}

/// Microseconds for each of `batch` runs.
fn time(batch: u32, mut work: impl FnMut()) -> f64 {
    let began = Instant::now();
    for _ in 0..batch {
        work();
    }
    began.elapsed().as_secs_f64() * 1e6 / f64::from(batch)
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
