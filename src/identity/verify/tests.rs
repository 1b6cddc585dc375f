use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::control::keys::{Algorithm as SigningAlgorithm, SigningKey};

const NOW: UnixMs = UnixMs::from_ms(1_700_000_000_500);
const NOW_S: f64 = 1_700_000_000.5;

fn rules() -> Rules {
    Rules {
        issuer: "https://id.example/".into(),
        audience: "gastank".into(),
        audience_claim: AudienceClaim::Audience,
        scope: Required::new("tank"),
        algorithms: Algorithm::ALL.to_vec(),
        types: TokenType::ALL.to_vec(),
        leeway: Millis::from_secs(60),
    }
}

fn header() -> Value {
    json!({"alg": "EdDSA", "typ": "at+JWT", "kid": "k"})
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example/", "sub": "ada", "aud": ["other", "gastank"], "exp": NOW_S + 300.0,
        "iat": NOW_S - 1.5, "scope": "openid tank", "fxa-generation": 1_565_720_808_000_u64,
    })
}

fn compact(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn unsigned(header: &Value, claims: &Value) -> String {
    compact(header, claims, |_| vec![0; 64])
}

fn pair(algorithm: SigningAlgorithm) -> (SigningKey, Key) {
    let (signing, _) = SigningKey::generate(algorithm).unwrap();
    let jwk: Jwk = serde_json::from_value(serde_json::to_value(signing.public()).unwrap()).unwrap();
    let key = Key::of(&jwk).unwrap();
    (signing, key)
}

fn checked(token: &str) -> Result<(), Fault> {
    Unverified::parse(token)?.check(&rules(), NOW).map(drop)
}

/// What comes of these claims in place of the good ones.
fn with(changes: Value) -> Result<(), Fault> {
    let mut changed = claims();
    for (name, value) in changes.as_object().unwrap() {
        changed[name] = value.clone();
    }
    checked(&unsigned(&header(), &changed))
}

fn with_header(header: Value) -> Result<(), Fault> {
    checked(&unsigned(&header, &claims()))
}

#[test]
fn a_token_is_accepted_with_every_algorithm_that_providers_use() {
    for (algorithm, name) in [
        (SigningAlgorithm::ES256, Algorithm::ES256),
        (SigningAlgorithm::RS256, Algorithm::RS256),
        (SigningAlgorithm::EdDSA, Algorithm::EdDSA),
    ] {
        let (signing, key) = pair(algorithm);
        let head = json!({"alg": name.name(), "kid": "k"});
        let text = compact(&head, &claims(), |message| signing.sign(message).unwrap());
        let token = Unverified::parse(&text).unwrap();
        assert_eq!(token.check(&rules(), NOW), Ok(SignedWith { algorithm: name, kid: Some("k") }));
        let said = token.verify(name, std::slice::from_ref(&key)).unwrap();
        assert_eq!((said.subject.as_str(), said.generation), ("ada", Some(1_565_720_808_000)));
        assert_eq!(said.expires_at, NOW.plus(Millis::from_secs(300)));

        let (_, other) = pair(algorithm);
        assert_eq!(
            Unverified::parse(&text).unwrap().verify(name, std::slice::from_ref(&other)),
            Err(Fault::Signature),
            "{name}"
        );
        let both = Unverified::parse(&text).unwrap().verify(name, &[other, key.clone()]);
        assert!(both.is_ok(), "{name}: one of several keys under one name");
        for wrong in Algorithm::ALL.into_iter().filter(|wrong| *wrong != name) {
            assert_eq!(
                Unverified::parse(&text).unwrap().verify(wrong, std::slice::from_ref(&key)),
                Err(Fault::Signature),
                "{name} {wrong}"
            );
        }
        let (start, _) = text.rsplit_once('.').unwrap();
        assert_eq!(Unverified::parse(&format!("{start}.")).unwrap().verify(name, &[key]), Err(Fault::Signature));
    }
}

#[test]
fn the_claims_of_a_signed_token_cannot_be_changed() {
    let (signing, key) = pair(SigningAlgorithm::EdDSA);
    let text = compact(&header(), &claims(), |message| signing.sign(message).unwrap());
    let (start, signature) = text.rsplit_once('.').unwrap();
    let (head, _) = start.split_once('.').unwrap();
    let mut forged = claims();
    forged["sub"] = json!("eve");
    let forged = format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(forged.to_string()));
    let token = Unverified::parse(&forged).unwrap();
    assert!(token.check(&rules(), NOW).is_ok());
    assert_eq!(token.verify(Algorithm::EdDSA, &[key]), Err(Fault::Signature));
}

#[test]
fn no_algorithm_without_a_public_key_is_ever_allowed() {
    for alg in ["none", "None", "NONE", "", "HS256", "HS384", "HS512", "RS1", "eddsa", "ES256K", "dir"] {
        assert_eq!(with_header(json!({"alg": alg, "kid": "k"})), Err(Fault::Algorithm), "{alg}");
    }
    assert_eq!(with_header(json!({"alg": "Ed25519"})), Ok(()), "what RFC 9864 calls EdDSA with that curve");
    let token = unsigned(&header(), &claims());
    let only_rsa = Rules { algorithms: vec![Algorithm::RS256], ..rules() };
    assert_eq!(Unverified::parse(&token).unwrap().check(&only_rsa, NOW), Err(Fault::Algorithm));
}

#[test]
fn a_type_is_one_that_is_allowed_in_any_case() {
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "JWT", "jwt", "application/JWT"] {
        assert_eq!(with_header(json!({"alg": "EdDSA", "typ": typ})), Ok(()), "{typ}");
    }
    assert_eq!(with_header(json!({"alg": "EdDSA"})), Ok(()));
    for typ in ["secevent+jwt", "logout+jwt", "statuslist+jwt", "", "application/application/jwt"] {
        assert_eq!(with_header(json!({"alg": "EdDSA", "typ": typ})), Err(Fault::Type), "{typ}");
    }
    let strict = Rules { types: vec![TokenType::AccessToken], ..rules() };
    for head in [json!({"alg": "EdDSA"}), json!({"alg": "EdDSA", "typ": "JWT"})] {
        let token = unsigned(&head, &claims());
        assert_eq!(Unverified::parse(&token).unwrap().check(&strict, NOW), Err(Fault::Type), "{head}");
    }
}

#[test]
fn the_issuer_is_compared_to_the_letter() {
    for issuer in ["https://id.example", "https://id.example//", "HTTPS://id.example/", "https://evil.example/", ""] {
        assert_eq!(with(json!({"iss": issuer})), Err(Fault::Issuer), "{issuer}");
    }
}

#[test]
fn the_audience_is_ours_or_contains_ours() {
    assert_eq!(with(json!({"aud": "gastank"})), Ok(()));
    for aud in [json!("other"), json!([]), json!(["other"]), json!(null), json!("gastank other"), json!("Gastank")] {
        assert_eq!(with(json!({"aud": aud})), Err(Fault::Audience), "{aud}");
    }
}

#[test]
fn the_audience_can_be_the_client_of_the_token() {
    let rules = Rules { audience_claim: AudienceClaim::ClientId, ..rules() };
    let checked = |changes: &[(&str, Value)]| {
        let mut changed = claims();
        changes.iter().for_each(|(name, value)| changed[*name] = value.clone());
        let token = unsigned(&header(), &changed);
        Unverified::parse(&token)?.check(&rules, NOW).map(drop)
    };
    assert_eq!(checked(&[("client_id", json!("gastank")), ("aud", json!(null))]), Ok(()));
    assert_eq!(checked(&[]), Err(Fault::Audience), "`aud` is ours, and not what is looked at");
    assert_eq!(checked(&[("client_id", json!("other"))]), Err(Fault::Audience));
    assert_eq!(with(json!({"aud": "other", "client_id": "gastank"})), Err(Fault::Audience), "and the other way round");
}

#[test]
fn a_token_tells_when_it_was_issued_to_the_second_or_better() {
    let (signing, key) = pair(SigningAlgorithm::EdDSA);
    let issued_before = |iat: f64| {
        let mut changed = claims();
        changed["iat"] = json!(iat);
        let text = compact(&header(), &changed, |message| signing.sign(message).unwrap());
        let keys = std::slice::from_ref(&key);
        Unverified::parse(&text).unwrap().verify(Algorithm::EdDSA, keys).unwrap().issued_before.unwrap().as_ms()
    };
    assert_eq!(issued_before(1_565_720_808.0), 1_565_720_809_000, "it may be from the end of its second");
    assert_eq!(issued_before(1_565_720_808.337), 1_565_720_808_338);
}

#[test]
fn an_rsa_key_with_a_zero_before_its_number_is_that_key() {
    let (signing, _) = pair(SigningAlgorithm::RS256);
    let mut jwk = serde_json::to_value(signing.public()).unwrap();
    for member in ["n", "e"] {
        let number = URL_SAFE_NO_PAD.decode(jwk[member].as_str().unwrap()).unwrap();
        jwk[member] = json!(URL_SAFE_NO_PAD.encode([&[0][..], &number].concat()));
    }
    let key = Key::of(&serde_json::from_value(jwk).unwrap()).unwrap();
    let text = compact(&json!({"alg": "RS256"}), &claims(), |message| signing.sign(message).unwrap());
    assert!(Unverified::parse(&text).unwrap().verify(Algorithm::RS256, &[key]).is_ok());
}

#[test]
fn times_count_with_leeway_and_may_have_fractions() {
    assert_eq!(with(json!({"exp": NOW_S - 59.9})), Ok(()));
    assert_eq!(with(json!({"exp": NOW_S - 60.0})), Err(Fault::Expired));
    assert_eq!(with(json!({"exp": 0})), Err(Fault::Expired));
    assert_eq!(with(json!({"iat": NOW_S + 60.0, "nbf": NOW_S + 60.0})), Ok(()));
    assert_eq!(with(json!({"iat": NOW_S + 60.1})), Err(Fault::NotYet));
    assert_eq!(with(json!({"nbf": NOW_S + 61.0})), Err(Fault::NotYet));
    assert_eq!(with(json!({"iat": 1_565_720_808.337})), Ok(()));
    for exp in [json!("soon"), json!(-1), json!(1e300), json!(null), json!([1])] {
        assert_eq!(with(json!({"exp": exp})), Err(Fault::Claims), "{exp}");
    }
    let mut endless = claims();
    endless.as_object_mut().unwrap().remove("exp");
    assert_eq!(checked(&unsigned(&header(), &endless)), Err(Fault::Claims), "a token must end");
}

#[test]
fn every_required_scope_must_be_granted() {
    assert_eq!(with(json!({"scope": ["tank", "x"]})), Ok(()));
    for scp in [json!(["tank", "x"]), json!("x tank"), json!("tank")] {
        assert_eq!(with(json!({"scope": null, "scp": scp})), Ok(()), "{scp}");
    }
    for scope in [json!(null), json!(""), json!("tanker"), json!("openid"), json!([])] {
        assert_eq!(with(json!({"scope": scope})), Err(Fault::Scope), "{scope}");
    }
}

#[test]
fn a_subject_is_somebody() {
    for subject in [json!(null), json!(""), json!("a\u{0}b"), json!("x".repeat(513))] {
        assert_eq!(with(json!({"sub": subject})), Err(Fault::Subject), "{subject}");
    }
    assert_eq!(with(json!({"sub": "x".repeat(512)})), Ok(()));
    assert_eq!(with(json!({"sub": 7})), Err(Fault::Claims));
    assert_eq!(with(json!({"sub": "ß".repeat(512)})), Ok(()), "characters count, not bytes: as where credit is bought");
    assert_eq!(with(json!({"sub": "ß".repeat(513)})), Err(Fault::Subject));
}

#[test]
fn what_must_be_understood_and_is_not_is_refused() {
    assert_eq!(with_header(json!({"alg": "EdDSA", "crit": ["b64"], "b64": false})), Err(Fault::Critical));
    assert_eq!(with_header(json!({"alg": "EdDSA", "kid": ""})), Err(Fault::Key));
    assert_eq!(with_header(json!({"alg": "EdDSA", "kid": "k".repeat(257)})), Err(Fault::Key));
}

#[test]
fn what_is_no_jwt_is_told_from_what_is_one() {
    let good = unsigned(&header(), &claims());
    assert!(looks_like_jwt(&good));
    for text in ["", "gtk_x", "a.b.c", "eyJ", "eyJhbGciOiJub25lIn0.e30", "0123456789abcdef0123456789abcdef"] {
        assert!(!looks_like_jwt(text), "{text}");
    }
    let padded = good.replacen('.', "=.", 1);
    let twice = format!("{}.e30.", URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","alg":"none"}"#));
    let deep =
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(header().to_string()), URL_SAFE_NO_PAD.encode("[".repeat(9000)));
    let long = format!("{good}{}", "A".repeat(MAX_TOKEN));
    for text in ["..", "eyJ.eyJ.x", "e30.e30.", &padded, &twice, &good.replace('.', ". ")] {
        assert_eq!(checked(text), Err(Fault::Malformed), "{text:.80}");
    }
    assert_eq!(checked(&long), Err(Fault::TooLong));
    assert_eq!(checked(&deep), Err(Fault::Claims), "a list is JSON, and no claims");
}

#[test]
fn a_strange_generation_is_no_reason_to_refuse() {
    for generation in [json!("x"), json!(-1), json!(null), json!({})] {
        assert_eq!(with(json!({"fxa-generation": generation})), Ok(()));
    }
}

proptest! {
    #[test]
    fn no_text_makes_reading_panic(text in "[A-Za-z0-9_.=-]{0,200}") {
        let _ = Unverified::parse(&text);
    }

    #[test]
    fn no_json_makes_reading_panic(head in "\\PC{0,60}", payload in "\\PC{0,60}") {
        let text = format!("{}.{}.AA", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(payload));
        let _ = checked(&text);
    }
}
