//! Signing people in ourselves, as a relying party of a provider: the code flow of OpenID Connect Core 1.0 (3.1) with PKCE
//! (RFC 7636, S256).
//!
//! The ID token is verified as any token is ([`verify`](super::verify)); beside that it has to name our client id (`aud`, `azp`) and the
//! nonce of this sign-in. The answer of the userinfo endpoint counts only for the subject of the ID token. A provider that
//! answers nothing or nonsense is unavailable; it never makes somebody's sign-in "wrong".

use std::{
    fs, io,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{
    endpoints::{Directory, Endpoints},
    error::ProviderError,
    fetch::{FetchError, Fetcher},
    verify::{self, Fault, NumericDate, OneOrMany},
};
use crate::{
    exposure::is_exposed,
    time::{Clock, UnixMs},
};

/// Bytes of the file with a client secret.
const MAX_SECRET: u64 = 4096;
/// Bytes of each text of a profile.
const MAX_TEXT: usize = 256;
/// Authentication methods of one ID token that are kept.
const MAX_METHODS: usize = 8;

/// What is configured of us as a relying party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelyingSettings {
    /// The provider's name on the page where people choose one.
    pub name: String,
    /// Our client id.
    pub client_id: String,
    /// The file with our client secret; without one this is a public client.
    pub client_secret_file: Option<PathBuf>,
    /// What is asked for; `openid` among it.
    pub scope: String,
}

/// What sends a browser to a provider.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizationRequest<'a> {
    /// Where the provider sends the browser back.
    pub redirect_uri: &'a str,
    /// Names this sign-in in the answer.
    pub state: &'a str,
    /// Names this sign-in in the ID token.
    pub nonce: &'a str,
    /// The SHA-256 of the verifier, in base64url.
    pub challenge: &'a str,
    /// Whether the provider is to ask again who this is, though it may know.
    pub anew: bool,
    /// Who is probably going to sign in.
    pub login_hint: Option<&'a str>,
    /// The language of the pages.
    pub ui_locales: &'a str,
}

/// What a code is redeemed with.
#[derive(Clone, Copy, Debug)]
pub struct Redemption<'a> {
    /// The code.
    pub code: &'a str,
    /// What its challenge was made of.
    pub verifier: &'a str,
    /// The nonce of this sign-in.
    pub nonce: &'a str,
    /// The redirect URI that the code was sent to.
    pub redirect_uri: &'a str,
}

/// How somebody has just signed in, by the word of their provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// Their name at the provider.
    pub(super) subject: String,
    /// The instant before which the ID token was issued.
    pub(super) issued_before: Option<UnixMs>,
    /// When the person proved who they are, if it tells.
    pub auth_time: Option<UnixMs>,
    /// At which assurance level.
    pub acr: Option<String>,
    /// By which methods.
    pub amr: Vec<String>,
    /// The provider's own session.
    pub sid: Option<String>,
    /// What the provider tells of the person: the claims of the ID token, and over them those of the userinfo endpoint.
    pub claims: Map<String, Value>,
}

/// Why nobody is signed in by a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RelyingError {
    /// The code or what it was redeemed for is not good.
    Refused(Fault),
    /// The provider cannot say now.
    Unavailable,
    /// It does not take our client id and secret.
    Misconfigured,
}

/// We, at one provider.
pub(super) struct Relying {
    settings: RelyingSettings,
    secret: Option<Zeroizing<String>>,
    issuer: String,
    fetcher: Fetcher,
    directory: Arc<Directory>,
}

/// What a token endpoint answers.
#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// What an ID token says beside what every token says.
#[derive(Deserialize)]
struct IdClaims {
    sub: String,
    aud: OneOrMany,
    azp: Option<String>,
    nonce: Option<String>,
    iat: NumericDate,
    auth_time: Option<NumericDate>,
    acr: Option<String>,
    amr: Option<Vec<String>>,
    sid: Option<String>,
    #[serde(flatten)]
    claims: Map<String, Value>,
}

#[derive(Deserialize)]
struct UserInfo {
    sub: String,
    #[serde(flatten)]
    claims: Map<String, Value>,
}

impl Relying {
    pub(super) fn new(
        settings: RelyingSettings,
        issuer: &str,
        home: &Url,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ProviderError> {
        let secret = settings.client_secret_file.as_deref().map(read_secret).transpose()?;
        let mut metadata = home.clone();
        let path = format!("{}/.well-known/openid-configuration", home.path().trim_end_matches('/'));
        metadata.set_path(&path);
        let fetcher = Fetcher::new(home)?;
        let directory = Directory::new(issuer, metadata, fetcher.clone(), clock);
        Ok(Self { settings, secret, issuer: issuer.to_owned(), fetcher, directory: Arc::new(directory) })
    }

    /// What is configured.
    pub(super) const fn settings(&self) -> &RelyingSettings {
        &self.settings
    }

    /// Where a browser is sent to sign in.
    pub(super) async fn authorization_url(&self, asked: &AuthorizationRequest<'_>) -> Result<String, RelyingError> {
        let endpoints = self.endpoints().await?;
        let mut url = endpoints.authorization.clone();
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", asked.redirect_uri)
            .append_pair("scope", &self.settings.scope)
            .append_pair("state", asked.state)
            .append_pair("nonce", asked.nonce)
            .append_pair("code_challenge", asked.challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("ui_locales", asked.ui_locales);
        if asked.anew {
            // Whoever asks for an age is told when the person proved who they are (Core 3.1.2.1).
            query.append_pair("prompt", "login").append_pair("max_age", "0");
        }
        if let Some(hint) = asked.login_hint {
            query.append_pair("login_hint", hint);
        }
        drop(query);
        Ok(url.into())
    }

    /// Whether the answer to an authorization request comes from this provider (RFC 9207): it names it, or it need not.
    pub(super) async fn is_from_here(&self, named: Option<&str>) -> Result<bool, RelyingError> {
        match named {
            Some(named) => Ok(named == self.issuer),
            None => Ok(!self.endpoints().await?.names_itself),
        }
    }

    /// Redeems a code. The ID token is not verified yet.
    pub(super) async fn redeem(
        &self,
        with: &Redemption<'_>,
    ) -> Result<(String, Option<Zeroizing<String>>), RelyingError> {
        let endpoints = self.endpoints().await?;
        let (client_id, client_secret) = (&self.settings.client_id, &self.secret);
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", with.code),
            ("redirect_uri", with.redirect_uri),
            ("code_verifier", with.verifier),
        ];
        let basic = client_secret.as_ref().filter(|_| endpoints.takes_basic);
        if basic.is_none() {
            form.push(("client_id", client_id));
            if let Some(secret) = client_secret {
                form.push(("client_secret", secret));
            }
        }
        let basic = basic.map(|secret| (client_id.as_str(), secret.as_str()));
        let (status, body) =
            self.fetcher.post_form(&endpoints.token, &form, basic).await.map_err(|error| self.failed(error))?;
        if status != StatusCode::OK {
            return Err(self.refused(status, &body));
        }
        let tokens: Tokens = serde_json::from_slice(&body).map_err(|_| RelyingError::Unavailable)?;
        Ok((tokens.id_token, tokens.access_token.map(Zeroizing::new)))
    }

    /// What an ID token says whose signature, issuer, audience and times are good.
    pub(super) fn read(&self, id_token: &str, nonce: &str) -> Result<Authentication, Fault> {
        let claims = verify::open::<IdClaims>(id_token)?.payload;
        let ours = &self.settings.client_id;
        // Core 3.1.3.7, 3 to 5: who is named beside us must be known, and nobody is.
        if claims.azp.as_ref().is_some_and(|azp| azp != ours) || !claims.aud.is_only(ours) {
            return Err(Fault::Audience);
        }
        if claims.nonce.as_deref() != Some(nonce) {
            return Err(Fault::Claims);
        }
        let short = |text: &String| !text.is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
        Ok(Authentication {
            subject: claims.sub,
            issued_before: Some(claims.iat.end()),
            auth_time: claims.auth_time.map(NumericDate::instant),
            acr: claims.acr.filter(short),
            amr: claims.amr.unwrap_or_default().into_iter().filter(short).take(MAX_METHODS).collect(),
            sid: claims.sid.filter(short),
            claims: claims.claims,
        })
    }

    /// What the userinfo endpoint says of a person, if there is one. What it says of somebody else does not count.
    pub(super) async fn userinfo(&self, subject: &str, access_token: &str) -> Result<Map<String, Value>, RelyingError> {
        let endpoints = self.endpoints().await?;
        let Some(url) = &endpoints.userinfo else { return Ok(Map::new()) };
        let fetched = self.fetcher.get_as(url, access_token).await.map_err(|error| self.failed(error))?;
        let info: UserInfo = serde_json::from_slice(&fetched.body).map_err(|_| RelyingError::Unavailable)?;
        if info.sub != subject {
            return Err(RelyingError::Refused(Fault::Subject));
        }
        Ok(info.claims)
    }

    async fn endpoints(&self) -> Result<Arc<Endpoints>, RelyingError> {
        self.directory.find().await.ok_or(RelyingError::Unavailable)
    }

    /// Why a code was not redeemed (RFC 6749, 5.2).
    fn refused(&self, status: StatusCode, body: &[u8]) -> RelyingError {
        let error = serde_json::from_slice::<Refusal>(body).map(|refusal| refusal.error).unwrap_or_default();
        match error.as_str() {
            "invalid_grant" => RelyingError::Refused(Fault::Key),
            "invalid_client" | "unauthorized_client" => self.misconfigured(status),
            _ if status == StatusCode::UNAUTHORIZED => self.misconfigured(status),
            _ => {
                tracing::warn!(%status, issuer = self.issuer, "the identity provider does not redeem a code");
                RelyingError::Unavailable
            }
        }
    }

    fn misconfigured(&self, status: StatusCode) -> RelyingError {
        tracing::error!(
            %status,
            issuer = self.issuer,
            client_id = self.settings.client_id,
            "nobody can sign in: the identity provider does not take our client id and secret; hub_client_id and \
             hub_client_secret_file are to be what it has registered"
        );
        RelyingError::Misconfigured
    }

    fn failed(&self, error: FetchError) -> RelyingError {
        tracing::warn!(%error, issuer = self.issuer, "nobody can sign in at the identity provider now");
        RelyingError::Unavailable
    }
}

/// Reads a client secret: the text of its file, without the space around it.
fn read_secret(path: &Path) -> Result<Zeroizing<String>, ProviderError> {
    let wrap = |source| ProviderError::Secret { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(wrap)?;
    if is_exposed(&file.metadata().map_err(wrap)?) {
        return Err(wrap(io::Error::other("other users can read it; run: chmod o= on it")));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_SECRET + 1).read_to_string(&mut text).map_err(wrap)?;
    if text.len() as u64 > MAX_SECRET {
        return Err(wrap(io::Error::other(format!("it is longer than {MAX_SECRET} bytes"))));
    }
    let secret = text.trim();
    if secret.is_empty() {
        return Err(wrap(io::Error::other("it is empty")));
    }
    Ok(Zeroizing::new(secret.to_owned()))
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;
    use crate::time::{FakeClock, MeterTime};

    fn relying() -> Relying {
        let settings = RelyingSettings {
            name: "Example".into(),
            client_id: "tank".into(),
            client_secret_file: None,
            scope: "openid".into(),
        };
        let home = Url::parse("https://id.example/realm").unwrap();
        let clock = Arc::new(FakeClock::new(MeterTime::from_ms(0), UnixMs::from_ms(0)));
        Relying::new(settings, "https://id.example/realm", &home, clock).unwrap()
    }

    fn token(claims: &Value) -> String {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        format!("{}.{}.AA", part(&json!({"alg": "ES256"})), part(claims))
    }

    fn claims() -> Value {
        json!({"sub": "ada", "aud": "tank", "nonce": "n", "iat": 1, "auth_time": 1, "amr": ["pwd"], "name": "Ada"})
    }

    #[tokio::test]
    async fn an_id_token_must_be_for_us_alone_and_have_this_sign_ins_nonce() {
        let relying = relying();
        let read = |change: &dyn Fn(&mut Value)| {
            let mut claims = claims();
            change(&mut claims);
            relying.read(&token(&claims), "n").map(|read| read.subject)
        };
        assert_eq!(read(&|_| {}), Ok("ada".to_owned()));
        assert_eq!(read(&|claims| claims["aud"] = json!(["tank"])), Ok("ada".to_owned()));
        assert_eq!(read(&|claims| claims["azp"] = json!("tank")), Ok("ada".to_owned()));
        assert_eq!(read(&|claims| claims["azp"] = json!("other")), Err(Fault::Audience));
        assert_eq!(read(&|claims| claims["aud"] = json!(["tank", "other"])), Err(Fault::Audience));
        assert_eq!(read(&|claims| claims["nonce"] = json!("N")), Err(Fault::Claims));
        assert_eq!(read(&|claims| drop(claims.as_object_mut().unwrap().remove("nonce"))), Err(Fault::Claims));
    }
}
